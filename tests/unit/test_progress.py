# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress lines: one for each change, a few in a second. Every end of an action is in exactly one line."""

from __future__ import annotations

import importlib
import json
import re
import resource
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.progress import (
    MOST_A_SECOND,
    Board,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.news import News
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome, Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.tests.unit.fake_engine import NOON
from hypothesis import given, settings
from hypothesis import strategies as st

UUID = "0f4c5ad2-9a1b-4c39-8a6e-3f2b7d10c001"
NOW = 1_800_000_000.0
TIME = datetime.fromtimestamp(NOW).strftime("%H:%M:%S")


def line(**fields: Any) -> str:
    return json.dumps({"server": UUID, "name": "Lobby", "action": "restart", **fields})


def ended(server: str = "a", outcome: str = "done", **fields: Any) -> str:
    return line(server=server, name=fields.pop("name", f"server-{server}"), outcome=outcome, seconds=1.0, **fields)


def lines_of(*lines: str, host: str = "node-1", now: float = NOW) -> list[str]:
    board = Board({})
    board.begin(host)
    board.take(host, lines, now)
    return board.lines(now)


@pytest.mark.parametrize(
    "phase, words",
    [
        ("prepare", "being looked at"),
        ("stop", "stopping"),
        ("ready", "up, not ready yet"),
        ("players", "waiting for players"),
        ("countdown", "counting down"),
    ],
)
def test_a_line_names_time_node_server_and_phase(phase: str, words: str) -> None:
    assert lines_of(line(phase=phase)) == [f"{TIME} node-1 Lobby {words}"]


def test_a_result_is_reported_by_its_outcome() -> None:
    server = Server(UUID, "Lobby")
    for outcome in Outcome:
        result = Result(server, PowerAction.RESTART, outcome, "op", NOON, NOON, code="a_code", msg="A sentence.")
        lines = lines_of(json.dumps(News.of_end(result).line()))
        assert bool(lines) is (outcome not in (Outcome.UNCHANGED, Outcome.SKIPPED))
        assert all(outcome.value in each for each in lines)


@pytest.mark.parametrize(
    "text",
    [
        *("", "no JSON", "[]", "null", '"x"', "7", "{}", '{"server": "a"}'),
        *('{"server": "a", "phase": "unheard of"}', '{"phase": ["stop"]}', '{"phase": {}}', '{"outcome": {}}'),
        *('{"servers": "many"}', '{"servers": null}', '{"servers": []}'),
        *('{"servers": -1}', '{"servers": 1e400}', f'{{"servers": 1{"0" * 400}}}', "[" * 100_000, 7, None),
    ],
)
def test_an_invalid_line_is_ignored(text: Any) -> None:
    assert lines_of(text) == []
    assert lines_of(text, line(phase="start")) == [f"{TIME} node-1 Lobby starting"]


def test_a_server_left_to_its_players_keeps_its_outcome_and_is_counted_apart() -> None:
    left = ended(outcome="refused", code="players_online")
    assert lines_of('{"servers": 2}', left) == [
        f"{TIME} node-1 server-a restart refused, players_online, in 1.0 s [1 of 2, 1 skipped for players]"
    ]


def test_a_frozen_server_is_no_failure_and_is_counted_apart() -> None:
    assert lines_of('{"servers": 2}', ended(outcome="refused", code="frozen")) == [
        f"{TIME} node-1 server-a restart refused, frozen, in 1.0 s [1 of 2, 1 frozen]"
    ]


HOSTILE = [
    "two\nlines\r\n",
    "\x1b[2J\x1b[31mred",
    "\u202eright to left",
    "\x9b31m",
    "\ud800",
    "x" * 5000,
    "\u0301" * 50,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:8]))
@pytest.mark.parametrize("where", ["name", "code", "deadline", "host"])
@pytest.mark.parametrize("alone", [True, False])
def test_hostile_text_of_a_node_stays_on_one_line_without_control_characters(text: str, where: str, alone: bool) -> None:
    fields = {} if where == "host" else {where: text}
    news = line(**{"phase": "stop", **fields}) if where == "deadline" else line(**{"outcome": "failed", "name": "", **fields})
    # Too many lines are summed up.
    others = [] if alone else [ended(f"{number}") for number in range(9)]
    lines = lines_of(news, news.replace(UUID, "b"), news.replace(UUID, "c"), *others, host=text if where == "host" else "node-1")
    assert lines
    for each in lines:
        assert all(character.isprintable() for character in each)
        each.encode("utf-8")


def test_too_many_lines_are_summed_up_by_outcome() -> None:
    lines = lines_of(*(ended(str(number)) for number in range(10)), ended("x", "failed", code="start_failed"), line(phase="start"))
    assert lines == [
        f"{TIME} node-1 server-x restart failed, start_failed, in 1.0 s",
        f"{TIME} node-1 server-0 restart done in 1.0 s",
        f"{TIME} node-1: 9 restart done, 1 starting (Lobby)",
    ]


NAMES = [f"server-{letter}" for letter in "abcdefgh"]
EVENTS = st.lists(
    st.tuples(
        st.floats(0, 3),
        st.sampled_from([f"node-{number}" for number in range(5)]),
        st.lists(
            st.builds(
                lambda name, fields: {"server": name, "name": name, "action": "restart", "seconds": 1.0, **fields},
                st.sampled_from(NAMES),
                st.sampled_from([{"phase": "stop"}, {"phase": "start"}, *({"outcome": outcome.value} for outcome in Outcome)]),
            ),
            max_size=12,
        ),
    ),
    max_size=30,
)
ALONE = re.compile(r"node-\d server-\w restart (\w+) in 1\.0 s")
SUMMED = re.compile(r"(?:: |, )(\d+) restart (\w+)")


def count_ends(lines: list[str]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for each in lines:
        alone = ALONE.search(each)
        for number, outcome in [("1", alone[1])] if alone else SUMMED.findall(each):
            counted[outcome] += int(number)
    return counted


@settings(max_examples=80)
@given(EVENTS)
def test_the_lines_in_a_second_are_limited_and_each_end_is_reported_once(events: list[tuple[float, str, list[dict[str, Any]]]]) -> None:
    state: dict[str, Any] = {}
    shown: list[tuple[float, str]] = []
    came: Counter[str] = Counter()
    now = NOW
    for pause, host, news in events:
        now += pause
        # Like forks, which share only a file.
        board = Board(json.loads(json.dumps(state)))
        board.begin(host)
        board.take(host, [json.dumps(each) for each in news], now)
        shown += [(now, each) for each in board.lines(now)]
        came.update(each["outcome"] for each in news if "outcome" in each)
        state = board.state()
    moments = [moment for moment, _line in shown]
    assert all(after - before >= 1.0 for before, after in zip(moments, moments[MOST_A_SECOND:]))
    board = Board(state)
    for _pause, host, _news in events:
        board.end(host)
    # The last task does not wait for a line that the limit allows.
    shown += [(now, each) for each in board.lines(now)]
    del came["unchanged"], came["skipped"]
    assert count_ends([each for _moment, each in shown]) == came


@pytest.fixture(name="spoken")
def speak_into_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    pytest.importorskip("ansible.plugins.action")
    plugin = importlib.import_module("ansible_collections.fleet.power.plugins.plugin_utils._progress")
    spoken: list[str] = []
    monkeypatch.setattr(plugin, "speak", spoken.append)
    monkeypatch.setattr(plugin.constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    return spoken


def task_progress(host: str, *, mute: bool = False) -> Any:
    plugin = importlib.import_module("ansible_collections.fleet.power.plugins.plugin_utils._progress")
    return plugin.TaskProgress(host, mute=mute)


def test_tasks_of_a_run_share_a_board_and_the_last_task_shows_the_rest(spoken: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with task_progress("node-1") as first:
        first.take([json.dumps({"servers": 2})])
        with task_progress("node-2") as second:
            second.take([json.dumps({"servers": 2}), *(ended(str(number)) for number in range(3))])
            assert len(spoken) == 3
            first.take([ended("x", "failed")])
            assert len(spoken) == 3
        # Another task still runs. It shows the rest.
        assert len(spoken) == 3
    assert (len(spoken), spoken[-1].partition(" node-1 ")[2]) == (4, "server-x restart failed in 1.0 s [4 of 4, 1 failed]")


@pytest.mark.parametrize("damage", [lambda text: text[:-1], lambda text: text[: len(text) // 2], lambda text: "\x00" * len(text)])
def test_an_unreadable_board_is_replaced_by_an_empty_board(spoken: list[str], tmp_path: Path, damage: Callable[[str], str]) -> None:
    with task_progress("node-1") as progress:
        progress.take([ended("a")])
        (file,) = tmp_path.iterdir()
        file.write_text(damage(file.read_text()))
        progress.take([ended("b")])
    assert [each.split(maxsplit=2)[2] for each in spoken] == ["server-a restart done in 1.0 s", "server-b restart done in 1.0 s"]
    assert file.stat().st_mode & 0o077 == 0


def test_a_board_that_cannot_be_kept_fails_no_task(spoken: list[str], tmp_path: Path) -> None:
    with task_progress("node-1") as progress:
        bounds = resource.getrlimit(resource.RLIMIT_FSIZE)
        # Like a disk without space.
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, bounds[1]))
        try:
            progress.take([ended("a")])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, bounds)
        (file,) = tmp_path.iterdir()
        file.unlink()
        tmp_path.rmdir()
        progress.take([ended("b")])
        progress.say("is back")
    assert [each.split(maxsplit=2)[2] for each in spoken] == [
        "server-a restart done in 1.0 s",
        "server-b restart done in 1.0 s",
        "is back",
    ]
