# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send a node's events to its receivers: for a unit that runs as long as the machine does. Needs nothing but the core.

``python3 -m ansible_collections.fleet.power.plugins.module_utils.events [--config FILE] [--forget]``

With ``--forget`` it sends nothing, and removes what is kept for it, so that no event is written any more. After SIGTERM, SIGINT or SIGHUP
nothing is begun any more, and what is on its way has a few seconds. The exit code is 0 then, 1 if it cannot begin (one sentence on
standard error says why), 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ._events.service import forget_events, send_events
from ._own_session import Interruptions
from ._power.definitions.settings import load_settings
from ._power.host.daemon import import_whole
from ._power.host.library_faults import reason_of
from ._power.journal.journal_rows import JournalUnusable
from ._power.model.errors import PowerError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; its exit code."""
    parser = argparse.ArgumentParser(prog="events", description="Send the events of this node to those who are to be told.")
    parser.add_argument("--config", metavar="FILE", help="the node's settings; /etc/fleet-power/config.yml")
    parser.add_argument("--forget", action="store_true", help="send nothing; remove what is kept to be sent")
    given = parser.parse_args(arguments)
    import_whole()
    try:
        settings = load_settings(given.config)
        if given.forget:
            forget_events(settings)
        else:
            send_events(settings, Interruptions())
    except PowerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (JournalUnusable, OSError) as error:
        sys.stderr.write(f"Cannot remove the outbox: {reason_of(error)}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
