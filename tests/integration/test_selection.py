# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers of a call and their order."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState

from .controller import Controller
from .engine_proxy import EngineProxy
from .lab import Lab, wait_until
from .many import (
    FOR_EVER,
    assert_all_free,
    await_ended,
    beside,
    end,
    endings,
    last_operations,
    power_each,
    seconds,
    servers,
    shown_endings,
    started,
    starts,
)


@pytest.fixture
def own(lab: Lab, proxy: EngineProxy) -> Lab:
    """A node that does not see other tests' containers: "all" would include them."""

    def narrow(head: bytes) -> bytes:
        line, end_of_line, rest = head.partition(b"\r\n")
        if b"/containers/json?" in line and b"filters=" not in line:
            names = json.dumps({"name": lab.uuids or ["no-such-container"]})
            line = line.replace(b"/json?", b"/json?filters=" + quote(names).encode() + b"&")
        return line + end_of_line + rest

    proxy.rewrite = narrow
    return lab.at(proxy.host)


@pytest.fixture
def act(own: Lab, tmp_path: Path) -> Any:
    controller = Controller(own, tmp_path / "controller")
    return lambda action, server="all", **options: controller.run_module(**controller.options(action=action, server=server, **options))


def endings_by_server(result: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return dict(zip([entry["server"] for entry in result["servers"]], shown_endings(result)))


def undefine(lab: Lab, uuid: str) -> dict[str, Any]:
    definition = lab.definition(uuid)
    (lab.root / "servers" / f"{uuid}.json").unlink()
    return definition


def is_a_file_now(lab: Lab) -> None:
    """Replace the directory of definitions by a file, which even root cannot list."""
    (lab.root / "servers").rename(lab.root / "servers-before")
    (lab.root / "servers").write_text("")


def test_a_restart_of_all_omits_servers_that_are_down_and_skips_suspended_servers(lab: Lab, act: Any) -> None:
    up, suspended, crashed = started(lab, 3)
    end(lab, crashed)
    lab.server()
    lab.edit(suspended, suspended=True)
    before = starts(lab, [suspended, crashed])
    result = act("restart")
    assert endings_by_server(result) == {up: ("done", ""), suspended: ("skipped", "suspended")}
    assert "failed" not in result and result["changed"]
    assert result["summary"]["text"][0].startswith("server-")
    assert starts(lab, [suspended, crashed]) == before
    assert not lab.is_up(crashed)
    # A suspended server that is named is refused.
    assert endings_by_server(act("restart", [up, suspended]))[suspended] == ("refused", "suspended")


@pytest.mark.samples("restart")
@pytest.mark.parametrize("action", ["start", "restart"])
def test_a_boot_of_all_with_an_unreadable_source_fails_as_incomplete(lab: Lab, act: Any, action: str) -> None:
    (up, by_task), down = started(lab, 2), lab.server()
    before, definitions = starts(lab, [up]), [lab.definition(by_task)]
    is_a_file_now(lab)
    for check in (True, False):
        result = act(action, definitions=definitions, _ansible_check_mode=check)
        assert (result["failed"], result["code"]) == (True, "incomplete")
        assert f"{lab.root}/servers" in result["msg"] and "the other servers had their turn" in result["msg"]
        # A start finds the server up; a restart cannot read its definition.
        expected = {up: ("refused", "source_unreachable"), by_task: ("done", "")} if action == "restart" else {}
        assert endings_by_server(result) == {**dict.fromkeys((up, by_task), ("unchanged", "")), **expected}
    assert lab.container(down) is None and starts(lab, [up]) == before


@pytest.mark.samples("restart-any")
@pytest.mark.parametrize("only", [{}, {"only": ["running"]}], ids=["any", "running"])
@pytest.mark.parametrize("action", ["stop", "restart"])
def test_an_invisible_server_makes_an_action_on_all_incomplete(
    lab: Lab, act: Any, proxy: EngineProxy, action: str, only: dict[str, object]
) -> None:
    seen, hidden = started(lab, 2)
    proxy.fail("GET", rf"/containers/{hidden}/json")
    for check in (True, False):
        result = act(action, **only, _ansible_check_mode=check)
        assert endings_by_server(result) == {seen: ("done", ""), hidden: ("failed", "engine_error")}
        assert (result["failed"], result["code"]) == (True, "incomplete")
        assert "1 of 2 could not be seen" in result["msg"]
    assert lab.is_up(hidden) and lab.is_up(seen) == (action == "restart")
    # A named server fails by itself, and the action is complete.
    result = act(action, [hidden, seen], **only)
    assert endings_by_server(result)[hidden] == ("failed", "engine_error") and "code" not in result


@pytest.mark.samples("True")
@pytest.mark.parametrize("check", [True, False])
def test_a_start_by_intent_fails_if_the_journal_cannot_be_read(lab: Lab, act: Any, check: bool) -> None:
    (crashed,) = started(lab, 1)
    end(lab, crashed)
    before = starts(lab, [crashed])
    journal = lab.root / "state" / "journal.sqlite"
    journal.write_bytes(b"no database" * 1000)
    for server in ("all", crashed):
        result = act("start", server, if_meant_up=True, _ansible_check_mode=check)
        assert (result["failed"], result["code"]) == (True, "intent_unknown")
        assert "servers" not in result and "journal" in result["msg"]
        assert starts(lab, [crashed]) == before
        journal.write_bytes(b"no database" * 1000)


def test_the_only_option_is_checked_again_under_the_lock(lab: Lab, own: Lab) -> None:
    (uuid,) = started(lab, 1, STOP_SECONDS=FOR_EVER)
    (other,) = started(lab, 1)
    only = frozenset({PowerState.RUNNING, PowerState.STARTING, PowerState.STOPPING})
    with lab.actor("stop", uuid) as stop:
        lab.await_phase(uuid, "stop")
        with beside(
            lambda: power_each(own, "restart", [uuid, other], only=only, max_parallel=1, wait_seconds=120), lambda: end(lab, uuid)
        ) as restarting:
            await_ended(lab, "restart", [other])
            end(lab, uuid)
            results = restarting.result()
        assert stop.result()["outcome"] == "done"
    assert endings(results) == [("skipped", "not_selected"), ("done", "")]
    assert not results[0].changed and not lab.is_up(uuid)
    # The action began with the lock, so the journal has its end.
    row = last_operations(lab, [uuid])[uuid]
    assert (row.action, row.outcome, row.code) == ("restart", "skipped", "not_selected")


def test_a_kill_of_all_cancels_earlier_requests_for_unknown_servers(own: Lab, lab: Lab) -> None:
    uuids = [lab.server(done=("never",)) for _unused in range(4)]
    # Only the start knows these servers: the kill cannot see them before they have a container.
    given = [undefine(lab, uuid) for uuid in uuids]
    with beside(
        lambda: power_each(own, "start", uuids, options={"definitions": given}, max_parallel=1, wait_for="running", wait_timeout=600)
    ) as start:
        wait_until(lambda: lab.is_up(uuids[0]), "the first is up")
        killed = power_each(own, "kill", ["all"])
        start_endings = endings(start.result(60))
    assert endings(killed) == [("done", "")]
    assert start_endings == [("cancelled", "cancelled_by_kill")] * 4
    assert not any(lab.is_up(uuid) for uuid in uuids)


#: The engine and the journal use one clock, and cut times to milliseconds.
EXACT = 0.002


def prioritised(lab: Lab, priorities: Sequence[int], **environment: object) -> list[str]:
    """Servers without a run, with priorities in their definitions."""
    uuids = servers(lab, len(priorities), **environment)
    for uuid, priority in zip(uuids, priorities):
        lab.edit(uuid, meta={"name": f"server-{uuid[:8]}", "priority": priority})
    return uuids


def spans(lab: Lab, uuids: Sequence[str]) -> list[tuple[float, float]]:
    found = last_operations(lab, uuids)
    return [(seconds(found[uuid].begun_at), seconds(found[uuid].ended_at)) for uuid in uuids]


def assert_one_tier_after_the_other(lab: Lab, tiers: Sequence[Sequence[str]]) -> None:
    """Assert that each tier began after the end of the tier before."""
    for before, after in zip(tiers, tiers[1:]):
        assert min(begun for begun, _end in spans(lab, after)) >= max(ended for _begun, ended in spans(lab, before)) - EXACT


def test_a_start_begins_with_the_lowest_priority_and_tiers_wait_for_readiness(lab: Lab) -> None:
    game, proxy, lobby, other = prioritised(lab, [100, 10, 50, 100], BOOT_SECONDS=0.3)
    results = power_each(lab, "start", [game, proxy, lobby, other], priorities={}, wait_for="running")
    assert [result.server.uuid for result in results] == [game, proxy, lobby, other], "the results are in the order of the request"
    assert endings(results) == [("done", "")] * 4
    assert_one_tier_after_the_other(lab, [[proxy], [lobby], [game, other]])


@pytest.mark.samples("2")
@pytest.mark.parametrize("max_parallel", [0, 2])
def test_stagger_separates_starts_and_ignores_unchanged_and_refused_servers(lab: Lab, max_parallel: int) -> None:
    up, suspended = started(lab, 1)[0], lab.server(suspended=True)
    uuids = servers(lab, 3)
    results = power_each(lab, "start", [suspended, up, *uuids], stagger=1.5, max_parallel=max_parallel)
    assert endings(results) == [("refused", "suspended"), ("unchanged", ""), *[("done", "")] * 3]
    begun = sorted(begun for begun, _end in spans(lab, uuids))
    gaps = [after - before for before, after in zip(begun, begun[1:])]
    # The recorded begin is a moment after the server's turn.
    assert all(0.8 < gap < 10 for gap in gaps), gaps
    assert sum(result.seconds for result in results[:2]) < 5


def test_a_signal_ends_the_stagger_at_once(lab: Lab) -> None:
    uuids = servers(lab, 4, BOOT_SECONDS=1)
    signalled = threading.Event()
    with beside(
        lambda: power_each(
            lab, "start", uuids, stagger=3600, priorities={uuids[3]: 900}, interrupted=signalled.is_set, wait_for="container"
        ),
        signalled.set,
    ) as starting:
        wait_until(lambda: any(lab.is_up(uuid) for uuid in uuids), "a server is up")
        signalled.set()
        results = starting.result(10)
    assert sorted(endings(results)) == [("done", ""), *[("skipped", "interrupted_by_signal")] * 3]
    assert sum(lab.is_up(uuid) for uuid in uuids) == 1
    assert_all_free(lab, uuids)


def test_a_kill_cancels_a_start_that_waits_for_its_stagger(lab: Lab) -> None:
    first, second = prioritised(lab, [1, 2])
    stopping = threading.Event()
    with beside(
        lambda: power_each(lab, "start", [first, second], stagger=3600, priorities={}, interrupted=stopping.is_set), stopping.set
    ) as starting:
        wait_until(lambda: lab.is_up(first), "the first is up")
        killed = power_each(lab, "kill", [second], wait_seconds=0)
        results = starting.result(10)
    assert endings(results) == [("done", ""), ("cancelled", "cancelled_by_kill")]
    assert endings(killed)[0][0] in ("done", "unchanged")
    assert not lab.is_up(second)
