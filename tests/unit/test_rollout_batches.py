# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers of a rolling run, their order, batches, longest times and window."""

from __future__ import annotations

import itertools
import os
import random
import time
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.options import player_policy
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout import report, times
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record, Row, from_json, to_json
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run import batches_by_node, stop_for_deadline
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.selection import (
    Batch,
    Choice,
    batches,
    candidates,
    choose,
    criteria,
    pacing,
)
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.start import NewRun, open_run
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.times import (
    Waits,
    Window,
    longest,
    longest_batch,
    moment_in,
    read_window,
)
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.values import Candidate, RolloutError
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import read_timestamp
from ansible_collections.fleet.power.tests.unit.rollout_support import START, all_done, fleet, info, opened, uuid
from hypothesis import given, settings
from hypothesis import strategies as st

NODES = ["node-3", "node-1", "node-2"]


def servers(*texts: str) -> list[Candidate]:
    """Servers written as node, name and priority: ``1a/100``."""
    return [Candidate(f"node-{text[0]}", text[1], text[1], priority=int(text.partition("/")[2] or 100)) for text in texts]


def cut(candidates: list[Candidate], action: str = "restart", nodes: list[str] | None = None, **given: Any) -> list[str]:
    """The batches as text, the canary's with an exclamation mark."""
    nodes = NODES if nodes is None else nodes
    return [shown(batch) for batch in batches(candidates, nodes, action, pacing(given, nodes))]


def shown(batch: Batch) -> str:
    return " ".join(f"{candidate.node[-1]}{candidate.name}" for candidate in batch.servers) + "!" * batch.canary


@pytest.mark.parametrize("action", ["start", "restart"])
def test_lower_priorities_start_first_and_never_share_a_batch(action: str) -> None:
    assert cut(servers("1g", "2p/1", "3l/5", "1q/1"), action) == ["1q 2p", "3l", "1g"]


@pytest.mark.parametrize("action", ["stop", "kill"])
def test_lower_priorities_stop_last(action: str) -> None:
    assert cut(servers("1g", "2p/1", "3l/5", "1q/1"), action) == ["1g", "3l", "1q 2p"]


def test_the_first_servers_may_be_the_canary() -> None:
    assert cut(servers("1a", "1b", "2c"), canary=2) == ["1a 1b!", "2c"]
    assert cut(servers("1a", "1b", "2c"), canary="1") == ["1a!", "1b 2c"]


def test_a_node_may_be_the_canary() -> None:
    assert cut(servers("1a", "2b", "2c/5", "3d"), canary="node-2") == ["2c!", "2b!", "3d 1a"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"canary": "node-9"}, "neither a number nor a node of this play"),
        ({"serial": "fast"}, "rollout_serial='fast': expected a whole number from 0, or a percentage such as \"10%\", or a list of these"),
        ({"serial": [1, True]}, "rollout_serial=True"),
    ],
)
def test_an_invalid_pace_raises_an_error_with_the_name_of_the_variable(given: dict[str, Any], message: str) -> None:
    with pytest.raises(RolloutError, match=message):
        pacing(given, NODES)


@pytest.mark.parametrize("seed", range(30))
def test_each_server_is_in_exactly_one_batch_and_batches_keep_their_limits(seed: int) -> None:
    chance = random.Random(seed)
    nodes = [f"node-{number}" for number in range(chance.randint(1, 9))]
    many = [Candidate(chance.choice(nodes), str(number), priority=chance.choice([1, 2, 100])) for number in range(chance.randint(0, 60))]
    serial, size, canary = chance.randint(0, 4), chance.randint(0, 5), chance.choice([0, 3, nodes[0]])
    action = chance.choice(["start", "stop"])
    made = batches(many, nodes, action, pacing({"serial": serial, "batch_size": size, "canary": canary}, nodes))
    assert sorted(each.server for batch in made for each in batch.servers) == sorted(each.server for each in many)
    for batch in made:
        assert len({each.priority for each in batch.servers}) == 1
        of_nodes = [len(list(group)) for _node, group in itertools.groupby(batch.servers, key=lambda each: each.node)]
        assert batch.canary or not serial or len(of_nodes) <= serial
        assert not size or max(of_nodes) <= size
    order = [batch.servers[0].priority for batch in made if not batch.canary]
    assert order == sorted(order, reverse=action == "stop")


EGG = "0f5a1a3c-9a10-4e27-8f43-0a7f5cf1a9d2"


def chosen(*entries: dict[str, Any], node: str = "node-1", **given: Any) -> list[str]:
    return [candidate.name for candidate in choice({node: list(entries)}, **given).chosen]


def choice(seen: dict[str, list[dict[str, Any]]], **given: Any) -> Choice:
    asked = criteria({"action": "restart", "servers": ["all"], **given})
    return choose(candidates(seen, asked), asked)


def test_a_restart_of_all_selects_the_servers_that_are_up() -> None:
    states = ("offline", "starting", "running", "stopping")
    assert chosen(*(info(number, name=state, state=state) for number, state in enumerate(states))) == ["starting", "running", "stopping"]


@pytest.mark.parametrize("action", ["start", "restart"])
def test_a_restart_of_all_includes_a_server_that_another_action_starts(action: str) -> None:
    (candidate,) = choice(
        {"node-1": [info(1, state="offline", lock={"action": action}), info(2, state="offline", lock={"action": "stop"})]}
    ).chosen
    assert (candidate.name, candidate.state, candidate.any_state) == ("Server 1", "starting", True)


@pytest.mark.parametrize("name", ["Lobby", uuid(7), uuid(7).upper(), "00000007"])
def test_a_name_a_uuid_or_a_short_id_selects_a_server(name: str) -> None:
    assert chosen(info(7, name="Lobby"), info(8, name="Other"), servers=[name]) == ["Lobby"]


def test_a_name_on_two_nodes_raises_an_error_that_names_both_nodes() -> None:
    with pytest.raises(RolloutError, match=r"one server for Lobby: there are .* on node-1, .* on node-2; give UUIDs") as caught:
        choice({"node-1": [info(1, name="Lobby")], "node-2": [info(2, name="Lobby")]}, servers=["Lobby"])
    assert caught.value.code == "ambiguous_server"


def test_a_selected_server_matches_every_criterion() -> None:
    fitting = info(1, name="fits", labels={"tier": "game", "zone": "eu"}, egg=EGG)
    others = [
        info(2, name="label", labels={"tier": "game", "zone": "us"}, egg=EGG),
        info(3, name="no label", egg=EGG),
        info(4, name="egg", labels={"tier": "game", "zone": "eu"}, egg=uuid(1)),
        info(5, name="state", state="starting", labels={"tier": "game", "zone": "eu"}, egg=EGG),
    ]
    given: dict[str, Any] = {"labels": {"tier": "game", "zone": "eu"}, "eggs": [EGG.upper()], "states": ["running"]}
    assert chosen(fitting, *others, **given) == ["fits"]


@pytest.mark.parametrize("action", ["start", "restart"])
def test_suspended_servers_are_listed_apart_for_starts_and_restarts(action: str) -> None:
    found = choice({"node-1": [info(1), info(2, suspended=True)]}, action=action)
    assert [each.name for each in found.chosen] == ["Server 1"]
    assert [each.name for each in found.suspended] == ["Server 2"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"action": ""}, "rollout_action='': expected one of start, stop, restart, kill"),
        ({"servers": []}, "rollout_servers is empty"),
        ({"servers": ["all", "Lobby"]}, "all must be the only entry"),
        ({"states": ["offline"]}, "start them instead"),
        ({"priorities": {"Lobby": "first"}}, "Cannot use rollout_priorities.Lobby: it is .*, expected a whole number"),
    ],
)
def test_an_invalid_selection_raises_an_error_with_the_name_of_the_variable(given: dict[str, Any], message: str) -> None:
    with pytest.raises(RolloutError, match=message):
        criteria({"action": "restart", "servers": ["all"], **given})


@pytest.mark.parametrize("action", ["start", "stop", "kill"])
def test_only_a_restart_accepts_outdated(action: str) -> None:
    with pytest.raises(RolloutError, match=f"Cannot {action} with rollout_outdated: it applies only to restart"):
        criteria({"action": action, "servers": ["all"], "outdated": True})
    with pytest.raises(RolloutError, match="expected true or false"):
        criteria({"action": "restart", "servers": ["all"], "outdated": "perhaps"})


@pytest.mark.parametrize(
    ("action", "given", "message"),
    [
        ("restart", {"on_failed_start": "undo"}, "expected one of leave, revert"),
        ("stop", {"on_failed_start": "leave"}, "Cannot stop with rollout_on_failed_start: it applies only to start and restart"),
        ("stop", {"settle": 0}, "Cannot stop with rollout_settle: it applies only to start and restart"),
        ("start", {"retry_reverted": True}, "Cannot start with rollout_retry_reverted: it applies only to restart"),
    ],
)
def test_options_of_a_failed_start_that_do_not_fit_are_refused_before_any_node(action: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(RolloutError, match=message):
        criteria({"action": action, "servers": ["all"], **given})


def run_of(batches: Sequence[Sequence[str]]) -> Record:
    record = Record("1b2c3d4e", "restart", "2026-01-31T12:00:00.000Z", {}, batches=len(batches))
    record.rows = [Row(node, f"{node}-{number}", batch=number) for number, nodes in enumerate(batches, 1) for node in nodes]
    return record


def laid_out(lists: Mapping[str, Sequence[int]], nodes: Sequence[str]) -> list[int]:
    met: list[int] = []
    for node in nodes:
        met += [number for number in lists[node] if number not in met]
    return met


@pytest.mark.parametrize(
    ("batches", "lists"),
    [
        # Node after node: each node has only its own batches.
        (["a", "a", "b", "b", "c"], {"a": [1, 2], "b": [3, 4], "c": [5]}),
        # Priority after priority: the first node also lists earlier batches of others.
        (["a", "b", "c", "a", "b", "c"], {"a": [1, 2, 3, 4], "b": [2, 5], "c": [3, 6]}),
        # The canary is on the last node.
        (["c", "a", "b"], {"a": [1, 2], "b": [3], "c": [1]}),
        (["ab", "b"], {"a": [1], "b": [1, 2], "c": []}),
        ([], {"a": [], "b": [], "c": []}),
    ],
)
def test_each_node_includes_its_batches_and_unclaimed_earlier_batches(batches: list[str], lists: dict[str, list[int]]) -> None:
    assert batches_by_node(run_of(batches), ["a", "b", "c"]) == lists


@given(st.lists(st.sets(st.sampled_from("abcdef"), min_size=1), max_size=12))
def test_the_lists_of_all_nodes_keep_the_order_of_the_batches(batches: list[set[str]]) -> None:
    nodes = "abcdef"
    lists = batches_by_node(run_of([sorted(each) for each in batches]), nodes)
    assert laid_out(lists, nodes) == list(range(1, len(batches) + 1))
    for node in nodes:
        assert lists[node] == sorted(set(lists[node]))
        assert set(lists[node]) >= {number for number, each in enumerate(batches, 1) if node in each}


POLITE = {"players_at_most": 0, "max_delay": 1000}


@pytest.mark.parametrize(
    ("action", "given", "once", "each_round"),
    [
        ("restart", {}, 30, 600),
        ("restart", {"stop_timeout": 60, "wait_for": "running"}, 30, 360),
        ("restart", {"stop_timeout": "60", "wait_for": "healthy", "wait_timeout": "40", "soak": "7.5"}, 30, 100),
        ("restart", {**POLITE, "players_at_most": 2, "warn": [300, 10], "stop_timeout": 60}, 730, 360),
        ("start", {"wait_for": "running", "soak": 10, "stop_timeout": 60}, 30, 300),
        ("restart", {"on_failed_start": "revert"}, 30, 600 + 300 + 30 + 600),
        ("start", {"on_failed_start": "revert", "settle": "5", "stop_timeout": 60, "wait_timeout": 40}, 30, 40 + 5 + 60),
        ("restart", {"on_failed_start": "leave", "settle": 5}, 30, 600),
        ("kill", {"soak": 10, "wait_seconds": 300}, 0, 0),
    ],
)
def test_the_longest_time_of_a_batch_adds_up_all_time_limits(action: str, given: dict[str, Any], once: float, each_round: float) -> None:
    assert longest_batch(action, given, player_policy(action, given)) == (once, each_round)


def test_a_batch_that_could_pass_the_deadline_stops_the_rolling_run() -> None:
    deadline = read_timestamp("2026-01-31T06:00:00Z").timestamp()
    given = {"action": "restart", "servers": ["all"], "serial": 1, "stop_timeout": 60, "wait_seconds": 0}
    record = open_run(given, fleet(3, 1), NewRun(START.run, START.began_at, window=Window(deadline=deadline).facts()))
    assert times.deadline_fault(record, 1, longest(record, [1], Waits()), deadline - 60) == ""
    all_done(record, 1)
    fault = times.deadline_fault(record, 2, longest(record, [2], Waits()), deadline - 59)
    assert fault.startswith("batch 2 may take 1 min, and the deadline is ")
    stop_for_deadline(record, 2, fault)
    assert [(row.outcome, row.code) for row in record.rows] == [("done", ""), ("not_done", "deadline"), ("not_done", "deadline")]
    assert report.summary(record) == f"restart of 3 in 1 of 3 batches: 1 done, 2 not done; stopped: {fault}"
    result = report.result(record, ended_at="then", seconds=1.0, resume_file="FILE")
    assert (result["ok"], result["window"]) == (False, {"not_before": None, "deadline": "2026-01-31T06:00:00Z"})
    kept = from_json(to_json(record), "resume.json")
    assert to_json(kept)["not_done"] == ["node-2 Server 200: deadline", "node-3 Server 300: deadline"]
    # The next rolling run does not inherit the window.
    resumed = opened(fleet(3, 1), kept, run="5e6f7a8b")
    assert (resumed.deadline, [row.server for row in resumed.rows]) == ("", [uuid(200), uuid(300)])


BERLIN = "Europe/Berlin"
#: Zones with offsets of whole, half and quarter hours, with half an hour of summer time, without it, and with a skipped day.
ZONES = (BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca", "Pacific/Apia", "America/Havana", "UTC")


@pytest.fixture(autouse=True)
def _in_berlin() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = BERLIN
    time.tzset()
    yield
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def at(text: str, zone: str = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(zone), fold=fold).timestamp()


def window(now: str, **given: Any) -> tuple[str | None, str | None]:
    """The window that the variables give at a time in Berlin, in UTC."""
    facts = read_window(given, at(now)).facts()
    return facts["not_before"], facts["deadline"]


@pytest.mark.parametrize(
    ("now", "given", "expected"),
    [
        # Later today, else tomorrow.
        ("2026-01-31 01:00", {"not_before": "02:00"}, ("2026-01-31T01:00:00Z", None)),
        ("2026-01-31 02:00", {"not_before": "02:00"}, ("2026-02-01T01:00:00Z", None)),
        ("2026-01-31 07:00", {"deadline": "06:00"}, (None, "2026-02-01T05:00:00Z")),
        # A night window: before it, in its first half, in its second half, after it.
        ("2026-01-31 20:00", {"not_before": "22:00", "deadline": "06:00"}, ("2026-01-31T21:00:00Z", "2026-02-01T05:00:00Z")),
        ("2026-01-31 23:00", {"not_before": "22:00", "deadline": "06:00"}, (None, "2026-02-01T05:00:00Z")),
        ("2026-02-01 05:59", {"not_before": "22:00", "deadline": "06:00"}, (None, "2026-02-01T05:00:00Z")),
        ("2026-02-01 06:00", {"not_before": "22:00", "deadline": "06:00"}, ("2026-02-01T21:00:00Z", "2026-02-02T05:00:00Z")),
        # In a zone other than the controller's.
        ("2026-01-31 01:00", {"not_before": "02:00 UTC"}, ("2026-01-31T02:00:00Z", None)),
        # With a date.
        ("2026-01-31 01:00", {"not_before": "2026-02-03T02:00"}, ("2026-02-03T01:00:00Z", None)),
        ("2026-01-31 01:00", {"not_before": "2026-02-03T02:00:00.500+05:30"}, ("2026-02-02T20:30:00Z", None)),
        # As YAML reads an unquoted value.
        ("2026-01-31 01:00", {"not_before": datetime(2026, 2, 3, 2, tzinfo=timezone.utc)}, ("2026-02-03T02:00:00Z", None)),
        # The deadline follows the day of not_before, although that day is over.
        ("2026-01-31 12:00", {"not_before": "2026-01-30T22:00", "deadline": "06:00"}, ("2026-01-30T21:00:00Z", "2026-01-31T05:00:00Z")),
        # The window is over: no batch begins.
        ("2026-01-31 20:00", {"deadline": "2026-01-31T06:00"}, (None, "2026-01-31T05:00:00Z")),
        ("2026-01-31 20:00", {"not_before": "", "deadline": None}, (None, None)),
    ],
)
def test_window_times_give_the_open_or_the_next_window(now: str, given: dict[str, Any], expected: tuple[str | None, str | None]) -> None:
    assert window(now, **given) == expected


@settings(max_examples=80)
@given(
    zone=st.sampled_from(ZONES),
    now=st.integers(650_000_000, 2_100_000_000),
    begin=st.times().map(lambda each: each.replace(microsecond=0)),
    end=st.times().map(lambda each: each.replace(microsecond=0)),
)
def test_a_daily_window_is_open_or_opens_soon_and_always_ends(zone: str, now: int, begin: Any, end: Any) -> None:
    alone = read_window({"not_before": f"{begin} {zone}"}, now)
    assert alone.not_before is not None
    assert now < alone.not_before
    try:
        found = read_window({"not_before": f"{begin} {zone}", "deadline": f"{end} {zone}"}, now)
    except RolloutError:
        assert alone.not_before == read_window({"deadline": f"{end} {zone}"}, now).deadline
        return
    assert found.deadline is not None
    opens = now if found.not_before is None else found.not_before
    # A night may have an extra hour, and Samoa skipped a day.
    assert now <= opens <= now + 2 * 86400
    assert opens < found.deadline <= opens + 2 * 86400


@pytest.mark.parametrize(
    "value",
    [
        *("2:00", "24:00", "02", "now", "x" * 10_000, "02:00\nEurope/Berlin x", "2026-02-30T02:00", "9999-12-31T23:59", "1769860800"),
        *(
            "02:00Z",
            "2026-01-31T02:00+24:00",
            "02:00 Mars/Olympus",
            "02:00 ../../etc/passwd",
            "\u0660\u0662:00",
            1320,
            True,
            2.5,
            [],
            b"02:00",
        ),
    ],
    ids=lambda value: repr(value)[:30],
)
@pytest.mark.parametrize("name", ["not_before", "deadline"])
def test_an_invalid_time_is_refused_in_a_short_printable_sentence(name: str, value: object) -> None:
    with pytest.raises(RolloutError) as raised:
        read_window({name: value}, at("2026-01-31 01:00"))
    said = str(raised.value)
    assert said.startswith(f"Cannot use rollout_{name}=")
    assert said.isprintable()
    assert len(said) < 250


@given(st.text() | st.binary() | st.integers() | st.floats() | st.lists(st.text()))
def test_any_value_of_a_window_is_read_or_refused(value: Any) -> None:
    try:
        read_window({"not_before": value, "deadline": value}, at("2026-01-31 01:00"))
    except RolloutError as error:
        assert str(error).isprintable()


def test_a_distant_not_before_and_an_earlier_deadline_are_refused() -> None:
    with pytest.raises(RolloutError, match="Cannot use rollout_not_before=2062-01-31T02:00: it is more than 31 days ahead"):
        window("2026-01-31 01:00", not_before="2062-01-31T02:00")
    with pytest.raises(
        RolloutError, match="Cannot use rollout_deadline=2026-01-31T02:00: it is not later than rollout_not_before=2026-02-01T02"
    ):
        window("2026-01-31 01:00", not_before="2026-02-01T02:00", deadline="2026-01-31T02:00")
    with pytest.raises(
        RolloutError, match="Cannot use rollout_deadline=22:00: it is not later than rollout_not_before=22:00 when that comes"
    ):
        window("2026-01-31 01:00", not_before="22:00", deadline="22:00")
    # In that night, clocks go forward and the window has no length.
    with pytest.raises(
        RolloutError, match="Cannot use rollout_deadline=03:00: it is not later than rollout_not_before=02:00 when that comes"
    ):
        window("2026-03-29 00:00", not_before="02:00", deadline="03:00")


def test_a_window_survives_writing_and_reading() -> None:
    there = read_window({"not_before": "22:00", "deadline": "06:00"}, at("2026-01-31 12:00"))
    assert [moment_in(str(text)) for text in there.facts().values()] == [there.not_before, there.deadline]
    assert moment_in("2026-01-31T21:00:00Z") == at("2026-01-31 22:00")
