# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send a node's events to its receivers: for a unit that always runs. Needs only the core.

``python3 -m ansible_collections.fleet.power.plugins.module_utils.events [--config FILE] [--forget]``

``--forget`` sends nothing, removes the outbox, and ends the recording of events. After SIGTERM, SIGINT or SIGHUP, messages under way get a
few seconds. The exit code is then 0. It is 1 if the program cannot begin, with the reason on standard error, and 2 for wrong arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ._events.service import forget_events, send_events
from ._own_session import Interruptions
from ._power.definitions.settings import load_settings
from ._power.host.library_faults import reason_of
from ._power.journal.schema import JournalUnusable
from ._service import print_line, run_program, service_options


def main(arguments: Sequence[str] | None = None) -> int:
    parser = service_options("events", "Send the events of this node to its receivers.")
    parser.add_argument("--forget", action="store_true", help="send nothing; remove what is kept to be sent")
    given = parser.parse_args(arguments)
    return run_program(lambda: _forget(given.config) if given.forget else send_events(load_settings(given.config), Interruptions()))


def _forget(config: str | None) -> int:
    try:
        forget_events(load_settings(config))
    except (JournalUnusable, OSError) as error:
        print_line(f"Cannot remove the outbox: {reason_of(error)}", sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
