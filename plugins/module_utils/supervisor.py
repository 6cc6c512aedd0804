# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep up what is meant to be up: for a unit that runs as long as the machine does. Needs nothing but the core.

``python3 -m ansible_collections.fleet.power.plugins.module_utils.supervisor [--config FILE] [--stagger S] [--max-parallel N]
[--wait-for container|running]``

One line in the system log for each run that has ended. After SIGTERM, SIGINT or SIGHUP nothing is begun any more, and what is under way is
finished. The exit code is 0 then, 1 if it cannot begin (one sentence on standard error says why), 2 for wrong arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ._own_session import Interruptions
from ._power.definitions.settings import load_settings
from ._power.host.daemon import import_whole
from ._power.model.errors import PowerError
from ._power.model.request import WaitFor
from ._start_options import start_options
from ._supervisor.service import Options, supervise


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; its exit code."""
    given = start_options("supervisor", "Start again the servers of this node that have crashed, and what is meant to be up.").parse_args(
        arguments
    )
    import_whole()
    try:
        settings = load_settings(given.config)
        supervise(settings, Options(given.stagger, given.max_parallel, WaitFor(given.wait_for)), Interruptions())
    except PowerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
