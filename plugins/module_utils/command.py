# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``fleet-power`` on a node. Needs only the core.

Exit codes: 0 done, unchanged or skipped; 2 wrong usage; 3 refused; 4 failed; 5 cancelled.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ._command import run
from ._command.arguments import parser
from ._core import hold_own_core
from ._power.model.errors import internal_error


def main(arguments: Sequence[str] | None = None) -> int:
    given = parser(run.width()).parse_args(arguments)
    hold_own_core()
    try:
        return run.guarded(lambda: getattr(run, given.command)(given))
    except KeyboardInterrupt:
        return run.CANCELLED
    except BrokenPipeError:
        # Python would complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return run.FAILED
    except Exception as error:
        run.say(internal_error(error))
        return run.FAILED


if __name__ == "__main__":
    sys.exit(main())
