# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the servers up that should be up: for a unit that always runs. Needs only the core.

``python3 -m ansible_collections.fleet.power.plugins.module_utils.supervisor [--config FILE] [--stagger S] [--max-parallel N] [--wait-for
container|running]``

It writes one line to the system log for each ended run. After SIGTERM, SIGINT or SIGHUP nothing new begins, and started work is finished.
The exit code is then 0. It is 1 if the program cannot begin, with the reason on standard error, and 2 for wrong arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

from ._own_session import Interruptions
from ._power.definitions.settings import load_settings
from ._power.model.request import WaitFor
from ._service import run_program, start_options
from ._supervisor.service import supervise
from ._supervisor.starter import StartOptions


def main(arguments: Sequence[str] | None = None) -> int:
    given = start_options("supervisor", "Start crashed servers of this node again, and servers that should be up.").parse_args(arguments)
    options = StartOptions(given.stagger, given.max_parallel, WaitFor(given.wait_for))
    return run_program(lambda: supervise(load_settings(given.config), options, Interruptions()))


if __name__ == "__main__":
    raise SystemExit(main())
