# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``fleet-power`` on a node. Needs only the core.

Exit codes: 0 done, unchanged or skipped; 2 wrong usage; 3 refused; 4 failed; 5 cancelled.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ._command import run
from ._command.arguments import PROGRAM, parser
from ._core import hold_own_core
from ._power.actions.many.bulk import means_all
from ._power.model.request import ALL
from ._power.model.schema import did_you_mean


def main(arguments: Sequence[str] | None = None) -> int:
    _open_streams()
    # The journal cannot have the surrogates of bytes that are not UTF-8.
    top = parser(run.width())
    given, unknown = top.parse_known_args([word.encode("utf-8", "replace").decode() for word in arguments or sys.argv[1:]])
    if unknown:
        words = " ".join(word + did_you_mean(word.partition("=")[0], given.flags if word.startswith("--") else ()) for word in unknown)
        top.error(f"{given.command} does not accept {words}; see {PROGRAM} {given.command} --help")
    hold_own_core()
    return run.guarded(lambda: _run(given))


def _run(given: argparse.Namespace) -> int:
    """Run the subcommand. Raises `PowerError`: no subcommand accepts the word for all servers beside names."""
    if means_all(given.names):
        given.names = [ALL]
    code: int = getattr(run, given.command)(given)
    return code


def _open_streams() -> None:
    """Put the null device in place of closed standard streams: a kill must work without them."""
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(spare)
    sys.stdout, sys.stderr = sys.stdout or os.fdopen(1, "w"), sys.stderr or os.fdopen(2, "w")


if __name__ == "__main__":
    sys.exit(main())
