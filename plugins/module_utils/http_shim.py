# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP face of a node: ``python -m ansible_collections.fleet.power.plugins.module_utils.http_shim --config FILE``."""

from __future__ import annotations

import argparse
import sys


def main() -> int:
    """Serve; the exit code. What keeps it from beginning is one sentence on standard error."""
    from ._http_shim.service import serve
    from ._power.definitions.settings import DEFAULT_PATH
    from ._power.model.errors import PowerError

    parser = argparse.ArgumentParser(prog="http_shim", description="Serve the power endpoint of this node over HTTP.")
    parser.add_argument("--config", default=DEFAULT_PATH, metavar="FILE", help="the node's settings (default: %(default)s)")
    options = parser.parse_args()
    try:
        serve(options.config)
    except PowerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
