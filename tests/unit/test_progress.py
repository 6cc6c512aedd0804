# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of progress: one a change, few a second whatever comes, and everything that ended is in one of them."""

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


def told(*lines: str, host: str = "node-1", now: float = NOW) -> list[str]:
    board = Board({})
    board.begin(host)
    board.take(host, lines, now)
    return board.lines(now)


# ----- the words


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
def test_a_line_names_time_node_server_and_what_it_is_at(phase: str, words: str) -> None:
    assert told(line(phase=phase)) == [f"{TIME} node-1 Lobby {words}"]


def test_the_news_of_a_result_are_told_by_its_outcome() -> None:
    server = Server(UUID, "Lobby")
    for outcome in Outcome:
        result = Result(server, PowerAction.RESTART, outcome, "op", NOON, NOON, code="a_code", msg="A sentence.")
        said = told(json.dumps(News.of_end(result).line()))
        assert bool(said) is (outcome not in (Outcome.UNCHANGED, Outcome.SKIPPED))
        assert all(outcome.value in each for each in said)


@pytest.mark.parametrize(
    "text",
    [
        *("", "no JSON", "[]", "null", '"x"', "7", "{}", '{"server": "a"}'),
        *('{"server": "a", "phase": "unheard of"}', '{"phase": ["stop"]}', '{"phase": {}}', '{"outcome": {}}'),
        *('{"servers": "many"}', '{"servers": null}', '{"servers": []}'),
        *('{"servers": -1}', '{"servers": 1e400}', f'{{"servers": 1{"0" * 400}}}', "[" * 100_000, 7, None),
    ],
)
def test_a_line_that_is_no_news_is_none(text: Any) -> None:
    assert told(text) == []
    assert told(text, line(phase="start")) == [f"{TIME} node-1 Lobby starting"]


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
def test_whatever_a_node_says_a_line_is_one_line_and_moves_no_cursor(text: str, where: str, alone: bool) -> None:
    fields = {} if where == "host" else {where: text}
    news = line(**{"phase": "stop", **fields}) if where == "deadline" else line(**{"outcome": "failed", "name": "", **fields})
    # Where it is too much for a line each, it is summed up.
    others = [] if alone else [ended(f"{number}") for number in range(9)]
    lines = told(news, news.replace(UUID, "b"), news.replace(UUID, "c"), *others, host=text if where == "host" else "node-1")
    assert lines
    for each in lines:
        assert all(character.isprintable() for character in each)
        each.encode("utf-8")


# ----- few lines


def test_what_is_too_much_for_a_line_each_is_summed_up_by_what_became_of_it() -> None:
    lines = told(*(ended(str(number)) for number in range(10)), ended("x", "failed", code="start_failed"), line(phase="start"))
    assert lines == [
        f"{TIME} node-1 server-x restart failed, start_failed, in 1.0 s",
        f"{TIME} node-1 server-0 restart done in 1.0 s",
        f"{TIME} node-1: 9 restart done, 1 starting (Lobby)",
    ]


# ----- random news

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


def said_of_ends(lines: list[str]) -> Counter[str]:
    said: Counter[str] = Counter()
    for each in lines:
        alone = ALONE.search(each)
        for number, outcome in [("1", alone[1])] if alone else SUMMED.findall(each):
            said[outcome] += int(number)
    return said


@settings(max_examples=80, deadline=None)
@given(EVENTS)
def test_whatever_comes_no_second_has_more_lines_and_each_end_is_told_once(events: list[tuple[float, str, list[dict[str, Any]]]]) -> None:
    state: dict[str, Any] = {}
    shown: list[tuple[float, str]] = []
    came: Counter[str] = Counter()
    now = NOW
    for pause, host, news in events:
        now += pause
        # As forks do, which share nothing but a file.
        board = Board(json.loads(json.dumps(state)))
        board.begin(host)
        board.take(host, [json.dumps(each) for each in news], now)
        shown += [(now, each) for each in board.lines(now)]
        came.update(each["outcome"] for each in news if "outcome" in each)
        state = board.state()
    board = Board(state)
    while board.holds:
        now += 0.3
        shown += [(now, each) for each in board.lines(now)]
    moments = [moment for moment, _line in shown]
    assert all(after - before >= 1.0 for before, after in zip(moments, moments[MOST_A_SECOND:]))
    del came["unchanged"], came["skipped"]
    assert said_of_ends([each for _moment, each in shown]) == came


# ----- kept between forks


@pytest.fixture(name="spoken")
def speak_into_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    pytest.importorskip("ansible.plugins.action")
    plugin = importlib.import_module("ansible_collections.fleet.power.plugins.plugin_utils._progress")
    said: list[str] = []
    monkeypatch.setattr(plugin, "speak", said.append)
    monkeypatch.setattr(plugin.constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    return said


def task_progress(host: str, *, mute: bool = False) -> Any:
    plugin = importlib.import_module("ansible_collections.fleet.power.plugins.plugin_utils._progress")
    return plugin.TaskProgress(host, mute=mute)


def test_tasks_of_a_run_share_a_board_and_the_last_shows_what_is_left(spoken: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with task_progress("node-1") as first:
        first.take([json.dumps({"servers": 2})])
        with task_progress("node-2") as second:
            second.take([json.dumps({"servers": 2}), *(ended(str(number)) for number in range(3))])
            assert len(spoken) == 3
            first.take([ended("x", "failed")])
            assert len(spoken) == 3
        # Another goes on, which will.
        assert len(spoken) == 3
    assert (len(spoken), spoken[-1].partition(" node-1 ")[2]) == (4, "server-x restart failed in 1.0 s [4 of 4, 1 failed]")


@pytest.mark.parametrize("damage", [lambda text: text[:-1], lambda text: text[: len(text) // 2], lambda text: "\x00" * len(text)])
def test_a_board_that_cannot_be_read_is_begun_anew(spoken: list[str], tmp_path: Path, damage: Callable[[str], str]) -> None:
    with task_progress("node-1") as progress:
        progress.take([ended("a")])
        (file,) = tmp_path.iterdir()
        file.write_text(damage(file.read_text()))
        progress.take([ended("b")])
    assert [each.split(maxsplit=2)[2] for each in spoken] == ["server-a restart done in 1.0 s", "server-b restart done in 1.0 s"]
    assert file.stat().st_mode & 0o077 == 0


def test_a_board_that_cannot_be_kept_fails_nothing(spoken: list[str], tmp_path: Path) -> None:
    with task_progress("node-1") as progress:
        bounds = resource.getrlimit(resource.RLIMIT_FSIZE)
        # As a disk without room.
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
