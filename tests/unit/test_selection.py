# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which servers a call means, and the rules for their players."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.bulk import (
    everything,
    is_left_out,
    means_all,
    named,
    one_of_all,
    refuse_only_offline,
)
from ansible_collections.fleet.power.plugins.module_utils._power.actions.players.countdown_rules import (
    Move,
    Situation,
    decide,
    mark_reached,
    must_go,
    next_change,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import (
    AmbiguousServer,
    EngineUnreachable,
    ServerNotFound,
    SettingsInvalid,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import OnMaxDelay, PlayerCount, PlayerPolicy, read_policy
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction, Request
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome, Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState, Server
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode
from hypothesis import given
from hypothesis import strategies as st

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)
UP = frozenset({PowerState.STARTING, PowerState.RUNNING, PowerState.STOPPING})
COBALT, LOBBY = Server(UUID, "Cobalt"), Server("11111111-9a1b-4c39-8a6e-3f2b7d10c001", "Lobby")


def request(action: PowerAction = PowerAction.RESTART, server: str = "") -> Request:
    return Request(server, action, "op", NOON, generations={UUID: 3}, reason="update")


def result(outcome: Outcome, state: PowerState | None, action: PowerAction = PowerAction.RESTART) -> Result:
    return Result(COBALT, action, outcome, "op", NOON, NOON, state=state)


def identify(name: str) -> Server:
    known = {text: server for server in (COBALT, LOBBY) for text in (server.uuid, server.short_id, server.name)}
    if name == "Twin":
        raise AmbiguousServer("two of them")
    if name.lower() not in known and name not in known:
        raise ServerNotFound("unknown")
    return known.get(name) or known[name.lower()]


@pytest.mark.parametrize("names, all_of_them", [(["all"], True), ([" all\n"], True), (["ALL"], False), (["allium"], False), ([], False)])
def test_only_the_word_all_selects_all_servers(names: list[str], all_of_them: bool) -> None:
    assert means_all(names) == all_of_them


@pytest.mark.parametrize("names", [["all", UUID], [UUID, " all "], ["all", "all"]])
def test_the_word_all_cannot_stand_beside_another_name(names: list[str]) -> None:
    with pytest.raises(SettingsInvalid, match="server=all stands alone"):
        means_all(names)


@pytest.mark.parametrize(
    "action, only, expected",
    [
        (PowerAction.RESTART, None, UP),
        (PowerAction.RESTART, frozenset({PowerState.RUNNING, PowerState.OFFLINE}), frozenset({PowerState.RUNNING})),
        (PowerAction.RESTART, frozenset({PowerState.OFFLINE}), frozenset()),
        (PowerAction.START, None, None),
        (PowerAction.STOP, frozenset({PowerState.OFFLINE}), frozenset({PowerState.OFFLINE})),
        (PowerAction.KILL, None, None),
    ],
)
def test_a_restart_of_all_selects_servers_that_are_up_and_other_actions_all_servers(
    action: PowerAction, only: frozenset[PowerState] | None, expected: frozenset[PowerState] | None
) -> None:
    found = one_of_all(replace(request(action), only=only), COBALT)
    assert (found.server, found.only, found.one_of_all) == (UUID, expected, True)
    assert (found.generations, found.reason) == ({UUID: 3}, "update")


@pytest.mark.parametrize(
    "of_all, action, code, state, left_out",
    [
        (True, PowerAction.RESTART, "not_selected", PowerState.OFFLINE, True),
        (False, PowerAction.RESTART, "not_selected", PowerState.OFFLINE, False),
        (True, PowerAction.START, "not_selected", PowerState.OFFLINE, False),
        (True, PowerAction.RESTART, "not_selected", PowerState.RUNNING, False),
        (True, PowerAction.RESTART, "not_selected", None, False),
        (True, PowerAction.RESTART, "server_not_found", PowerState.OFFLINE, False),
        (True, PowerAction.RESTART, "", PowerState.OFFLINE, False),
    ],
)
def test_a_result_is_left_out_only_if_a_restart_of_all_found_the_server_down(
    of_all: bool, action: PowerAction, code: str, state: PowerState | None, left_out: bool
) -> None:
    ended = replace(result(Outcome.SKIPPED, state, action), code=code)
    assert is_left_out(ended, replace(request(action), one_of_all=of_all)) == left_out


@pytest.mark.parametrize("only", [None, frozenset(), frozenset({PowerState.OFFLINE, PowerState.RUNNING})])
def test_a_restart_of_all_is_refused_for_offline_servers_only(
    only: frozenset[PowerState] | None,
) -> None:
    refuse_only_offline(replace(request(), only=only))
    with pytest.raises(SettingsInvalid, match=r"^Cannot restart all servers that are offline"):
        refuse_only_offline(replace(request(), only=frozenset({PowerState.OFFLINE})))


def test_a_server_named_twice_is_a_single_target_with_its_first_name() -> None:
    targets = named(request(), ["Lobby", UUID.upper(), "Cobalt", LOBBY.short_id, UUID], identify)
    assert [(target.request.server, target.server) for target in targets] == [("Lobby", LOBBY), (UUID.upper(), COBALT)]
    assert len({target.request.operation for target in targets}) == 2


def test_a_bug_during_a_search_is_raised() -> None:
    def fail(_name: str) -> Server:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        named(request(), ["Lobby"], fail)


class TestAllServers:
    def test_all_servers_are_those_with_a_definition_or_a_container(self, fake: FakeNode) -> None:
        fake.up()
        fake.file.unlink()
        (fake.root / "servers" / f"{LOBBY.uuid}.json").write_text(json.dumps({"settings": {"uuid": LOBBY.uuid}}))
        assert [server.uuid for server in everything(fake.build(), PowerAction.STOP)] == sorted([LOBBY.uuid, UUID])
        fake.define()
        assert COBALT in everything(fake.build(), PowerAction.START)
        assert [server.uuid for server in everything(fake.build(), PowerAction.START)] == sorted([UUID, LOBBY.uuid])

    @pytest.mark.parametrize("action", [*PowerAction, None])
    def test_an_unreadable_definition_directory_leaves_the_list_incomplete(self, fake: FakeNode, action: PowerAction | None) -> None:
        fake.up()
        directory = fake.root / "servers"
        directory.rename(fake.root / "before")
        directory.write_text("no directory")
        sources = (node := fake.build()).sources
        assert [server.uuid for server in everything(node, action)] == [UUID]
        is_incomplete = action is None or action.boots
        assert [str(directory) in str(error) for error in sources.listing.unlisted] == ([True] if is_incomplete else [])
        assert [str(directory) in warning for warning in sources.warnings] == ([] if is_incomplete and action is not None else [True])

    def test_a_silent_engine_raises_an_error(self, fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
        def servers() -> list[Server]:
            raise EngineUnreachable("no answer")

        monkeypatch.setattr(fake.engine, "servers", servers)
        with pytest.raises(EngineUnreachable):
            everything(fake.build(), PowerAction.STOP)


SKIP = PlayerPolicy(2, 600, OnMaxDelay.SKIP, (60, 10))
PROCEED = PlayerPolicy(2, 600, OnMaxDelay.PROCEED, (60, 10))
QUIET = PlayerPolicy(2, 600, OnMaxDelay.SKIP)

policies = st.builds(
    PlayerPolicy,
    st.integers(0, 5),
    st.integers(100, 1000),
    st.sampled_from(OnMaxDelay),
    st.lists(st.integers(1, 100), max_size=5, unique=True).map(lambda marks: tuple(sorted(marks, reverse=True))),
)
counts = st.one_of(st.none(), st.integers(0, 10)).map(PlayerCount)


@pytest.mark.parametrize(
    "policy, online, passed, due, move",
    [
        (SKIP, 0, 0, None, Move.GO),
        (SKIP, 0, 599, 650, Move.GO),
        (SKIP, 2, 0, None, Move.COUNT),
        (SKIP, 3, 0, None, Move.WAIT),
        (SKIP, None, 0, None, Move.WAIT),
        (SKIP, 2, 544, None, Move.COUNT),
        (SKIP, 2, 546, None, Move.WAIT),
        (SKIP, 2, 600, None, Move.REFUSE),
        (SKIP, None, 600, None, Move.REFUSE),
        (SKIP, 3, 30, 60, Move.CALL_OFF),
        (SKIP, None, 30, 60, Move.COUNT),
        (SKIP, None, 60, 60, Move.CALL_OFF),
        (SKIP, 2, 60, 60, Move.GO),
        (QUIET, 3, 0, None, Move.WAIT),
        (PROCEED, 3, 539, None, Move.WAIT),
        (PROCEED, 3, 540, None, Move.COUNT),
        (PROCEED, 9, 550, 600, Move.COUNT),
        (PROCEED, 9, 100, 120, Move.CALL_OFF),
        (PROCEED, None, 120, 120, Move.CALL_OFF),
        (PROCEED, None, 600, 600, Move.GO),
        (PROCEED, 9, 600, 600, Move.GO),
    ],
)
def test_the_policy_decides_the_next_move(policy: PlayerPolicy, online: int | None, passed: float, due: float | None, move: Move) -> None:
    assert decide(policy, Situation(PlayerCount(online), passed, due)) is move


@given(policies, st.lists(counts, min_size=1, max_size=50), st.floats(0.5, 20))
def test_every_wait_for_players_ends_in_time(policy: PlayerPolicy, seen: list[PlayerCount], pause: float) -> None:
    passed, due, step = 0.0, None, 0
    while True:
        count = seen[min(step, len(seen) - 1)]
        move = decide(policy, Situation(count, passed, due))
        if move is Move.GO:
            # Players are few enough, or the delay is over. Players who are there got the whole countdown.
            allowed = count.online is not None and count.online <= policy.at_most
            assert count.online == 0 or allowed or must_go(policy, passed)
            assert count.online == 0 or not policy.warn or (due is not None and passed >= due)
            break
        if move is Move.REFUSE:
            assert policy.on_max_delay is OnMaxDelay.SKIP and passed >= policy.max_delay and count.online != 0
            break
        if move is Move.COUNT and due is None:
            due = passed + policy.countdown_seconds
        if move is Move.CALL_OFF:
            due = None
        passed, step = passed + min(pause, max(next_change(policy, Situation(count, passed, due)) - passed, 0.001)), step + 1
    # A countdown may end a little late. After a cancelled countdown, the players are counted once more.
    assert passed <= policy.max_delay + 6 + pause


@given(st.lists(st.integers(1, 600), min_size=1, max_size=8, unique=True), st.floats(0.1, 30))
def test_each_mark_is_announced_once_and_in_order(marks: list[int], pause: float) -> None:
    marks.sort(reverse=True)
    announced: list[int] = []
    left = float(marks[0])
    while left > 0:
        mark = mark_reached(marks, left, announced[-1] if announced else 0)
        if mark:
            announced.append(mark)
        left -= pause
    assert announced == sorted(set(announced), reverse=True) and announced[0] == marks[0]
    if pause <= 1:
        assert announced == marks


@pytest.mark.parametrize(
    "given_options, words",
    [
        ({"max_delay": 5}, "max_delay alone"),
        ({"players_at_most": -1}, "players_at_most=-1"),
        ({"players_at_most": "3"}, "players_at_most=str"),
        ({"players_at_most": 0, "max_delay": 10**30}, "max_delay=int"),
        ({"players_at_most": 0, "on_max_delay": "proceed"}, "without max_delay"),
        ({"players_at_most": 0, "on_max_delay": "never"}, "proceed or skip"),
        ({"warn": [60], "on_max_delay": "skip"}, "without players_at_most"),
        ({"warn": [60], "max_delay": 59}, "set max_delay to 60 or more$"),
        ({"players_at_most": 3, "warn": [60]}, "set max_delay to 60 or more$"),
        ({"players_at_most": 0, "warn": [60]}, "set max_delay to 60 or more, and on_max_delay to proceed$"),
        ({"players_at_most": 0, "warn": [60], "max_delay": 60}, "it happens only without players"),
        ({"warn": [0]}, "warn=0"),
        ({"warn": "60"}, "expected a list"),
        ({"warn": list(range(1, 30))}, "at most 20"),
        ({"warn": [5], "warn_message": " \n\u200f"}, "expected text"),
    ],
)
def test_invalid_player_options_are_refused(given_options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsInvalid, match=words):
        read_policy("restart", True, given_options)
