# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP shim of a node: ``python -m ansible_collections.fleet.power.plugins.module_utils.http_shim --config FILE``."""

from __future__ import annotations

from collections.abc import Sequence

from ._http_shim.service import serve
from ._power.definitions.settings import DEFAULT_PATH
from ._service import run_program, service_options


def main(arguments: Sequence[str] | None = None) -> int:
    given = service_options("http_shim", "Serve the power endpoint of this node over HTTP.").parse_args(arguments)
    return run_program(lambda: serve(given.config or DEFAULT_PATH))


if __name__ == "__main__":
    raise SystemExit(main())
