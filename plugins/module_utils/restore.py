# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the servers that should be up, in order: for a unit that runs after a boot, once the engine runs. Needs only the core.

``python3 -m ansible_collections.fleet.power.plugins.module_utils.restore [--config FILE] [--stagger S] [--max-parallel N] [--wait-for
container|running]``

Each ended start is a line on standard output; general errors are on standard error. The exit code is 0 if all servers are up, 1 if not or
unknown, 2 for wrong arguments. After SIGTERM, SIGINT or SIGHUP no start begins, and started work is finished. In the reboot of a
maintenance it starts nothing and exits with 0, because the maintenance starts the servers.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

from ._own_session import Interruptions
from ._power.actions.many.bulk import Target, perform_each
from ._power.actions.node.limiter import Limiter, Slot
from ._power.call import Call, open_call
from ._power.definitions.settings import Settings, load_settings
from ._power.host.pauses import MAINTENANCE_RECORD, maintenance_of
from ._power.model.caller import RESTORE_ORIGIN, Caller
from ._power.model.errors import NotSelected, ServerNotFound, Suspended
from ._power.model.report import is_failure
from ._power.model.request import PowerAction, Request, WaitFor
from ._power.model.result import Outcome, Result
from ._power.model.server import Server
from ._service import print_line, run_program, start_options

#: Codes of servers that should be up but correctly stay down.
_PASSED_OVER = (Suspended.code, ServerNotFound.code, NotSelected.code)
_REBOOT = "reboot"


def main(arguments: Sequence[str] | None = None) -> int:
    given = start_options("restore", "Start the servers of this node that should be up, in order.").parse_args(arguments)
    return run_program(lambda: 0 if _restore(given, Interruptions()) else 1)


def _restore(given: argparse.Namespace, interrupted: Callable[[], bool]) -> bool:
    """Start the servers; return True if all that may be up are up. Raises `PowerError` for a general error."""
    settings = load_settings(given.config)
    directory = settings.state_directory
    if _is_rebooting(directory):
        return True
    # Ignore an endpoint in the settings: the journal is this node's.
    options = {"config": given.config, "api_url": ""}
    with contextlib.closing(open_call(options, caller=Caller(interrupted))) as call:
        before = _journal_file(directory)
        servers = call.should_be_up()
        results = [] if servers is None else _start_each([server.uuid for server in servers], call, given)
        certain = _is_certain(servers, call, before == _journal_file(directory)) and not _is_unmounted(settings, results)
        warnings = (*call.warnings(), *(warning for result in results for warning in result.warnings))
    for warning in dict.fromkeys(warnings):
        print_line(warning, sys.stderr)
    return certain and not any(_is_down(result) for result in results)


def _is_rebooting(directory: str) -> bool:
    """Tell, with a line, if a maintenance reboots this node. An unreadable one gets a line too, and counts as none."""
    path = os.path.join(directory, MAINTENANCE_RECORD)
    try:
        record = maintenance_of(directory)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "role maintenance did not write it"
        print_line(f"Cannot read {path}: {why}; servers that should be up are started as without a maintenance", sys.stderr)
        return False
    if record is None or record.get("phase") != _REBOOT:
        return False
    print_line(
        f"Nothing is started: {path} says that a maintenance reboots this node, and it brings its servers back itself; "
        "if it was cut off, run it again, or remove that file and start this again",
        sys.stderr,
    )
    return True


def _journal_file(directory: str) -> tuple[int, int] | None:
    try:
        # A Python without SQLite has no journal.
        from ._power.journal.journal_sqlite import identity_of, path_in

        return identity_of(path_in(directory))
    except (ImportError, OSError):
        return None


def _is_certain(servers: Sequence[Server] | None, call: Call, is_same_file: bool) -> bool:
    """Tell if the journal was and is readable, and is the same file: a new journal has forgotten stops."""
    if not servers:
        return servers is not None
    if not is_same_file:
        print_line("Cannot tell whether all servers are as intended: the journal was replaced meanwhile; look at the servers", sys.stderr)
    return is_same_file and call.should_be_up() is not None


def _is_unmounted(settings: Settings, results: Sequence[Result]) -> bool:
    """Tell, with a line, if servers lack a definition because the directory is missing: its disk may be mounted later."""
    where = settings.definitions
    # With a Panel, its list names the servers, and many nodes have no directory.
    if settings.remote or os.path.exists(where) or not any(result.code == ServerNotFound.code for result in results):
        return False
    print_line(
        f"Cannot tell whether servers without definition are gone: {where} is not there; make it, or mount its disk, and start this again",
        sys.stderr,
    )
    return True


def _start_each(uuids: Sequence[str], call: Call, given: argparse.Namespace) -> list[Result]:
    asked = Request(
        server="",
        action=PowerAction.START,
        operation="",
        requested_at=datetime.now(timezone.utc),
        wait_for=WaitFor(given.wait_for),
        one_of_all=True,
        should_be_up=frozenset(uuids),
        ignores_freeze=True,
        origin=RESTORE_ORIGIN,
    )

    def act(target: Target, slot: Slot) -> Result:
        result = call.act(target, slot)
        print_line(_line(result), sys.stdout)
        return result

    targets = call.targets(uuids, asked) if uuids else []
    return perform_each(targets, act, Limiter(given.max_parallel, stagger=given.stagger), call.priorities(targets, {}))


def _is_down(result: Result) -> bool:
    return is_failure(result) and result.code not in _PASSED_OVER


def _line(result: Result) -> str:
    server = f"{result.server.uuid} {result.server.name}".strip()
    if result.outcome is Outcome.DONE:
        return f"{server}: started"
    if result.outcome is Outcome.UNCHANGED:
        return f"{server}: up already"
    outcome = "passed over" if result.code in _PASSED_OVER else result.outcome.value
    return f"{server}: {outcome}, {result.code}: {result.msg}"


if __name__ == "__main__":
    raise SystemExit(main())
