# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions on a node with a Panel, and beside Wings."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.call import _OnNode as on_node
from ansible_collections.fleet.power.plugins.module_utils._power.host.pauses import Remembered, wings_pid
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import SourceUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Result
from ansible_collections.fleet.power.plugins.module_utils._power.sources.panel import Panel
from ansible_collections.fleet.power.plugins.module_utils._power.sources.panel_api import Page, PanelUnavailable
from ansible_collections.fleet.power.plugins.module_utils._power.sources.source import SourceSet
from ansible_collections.fleet.power.plugins.module_utils._power.sources.sources import Sources
from ansible_collections.fleet.power.tests.unit.fake_engine import FakeClock
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode


class Managed:
    """The fake node's server, on a Panel instead of in the directory. It is the Panel's interface, too: one page holds all."""

    address = "http://panel.test"

    def __init__(self, fake: FakeNode) -> None:
        self.fake = fake
        fake.file.unlink()
        self.raw: Any = fake.definition()
        self.is_listed, self.is_up = True, True
        self.asked: list[object] = []
        self.call()

    def call(self, *task: object, allow_stale: bool = False) -> None:
        settings = replace(self.fake.node.settings, allow_stale=allow_stale)
        panel = Panel(settings, self.fake.clock, self)  # type: ignore[arg-type]
        self.fake.node = replace(self.fake.node, sources=Sources(SourceSet(settings, task=task, containers=lambda: (), panel=panel)))

    def act(self, action: str, **fields: Any) -> tuple[str, str]:
        result: Result = self.fake.perform(action, **fields)
        return result.outcome.value, result.code

    def move(self) -> None:
        """Give the server to another node; the Panel still hands its definition to any node."""
        self.is_listed = False

    def suspend(self) -> None:
        self.raw = self.fake.definition(suspended=True)

    def delete(self) -> None:
        self.raw, self.is_listed = None, False

    def page(self, number: int, patience: Any, check_cancelled: Any) -> Any:
        self._ask(number)
        return Page({"data": [{"uuid": UUID, **self.raw}] if self.is_listed else [], "meta": {"last_page": 1}}, 0)

    def server(self, uuid: str, patience: Any, check_cancelled: Any) -> Any:
        self._ask(uuid)
        return self.raw

    def unreachable(self, what: str, reason: object) -> Exception:
        return SourceUnreachable(f"Cannot fetch {what}: {reason}")

    def _ask(self, what: object) -> None:
        self.asked.append(what)
        if not self.is_up:
            raise PanelUnavailable("connection refused")


@pytest.fixture
def managed(fake: FakeNode) -> Managed:
    return Managed(fake)


def up(managed: Managed) -> None:
    assert managed.act("start") == ("done", "")
    managed.call()
    managed.asked.clear()


def test_a_server_that_is_moved_away_while_others_have_their_turn_is_not_booted(managed: Managed) -> None:
    up(managed)
    managed.fake.node.sources.definition(UUID)
    managed.move()
    managed.fake.clock.sleep(11)
    assert managed.act("restart") == ("refused", "server_not_found")
    assert managed.fake.live and UUID not in managed.asked


@pytest.mark.parametrize("seconds", [2.0, 12.0])
def test_a_server_that_is_suspended_or_deleted_during_its_stop_is_not_booted(managed: Managed, seconds: float) -> None:
    up(managed)
    managed.fake.engine.stop_seconds = seconds
    managed.fake.clock.after(1, managed.suspend)
    assert managed.act("restart") == ("failed", "suspended")
    managed.raw = managed.fake.definition()
    managed.call()
    assert managed.act("start") == ("done", "")
    managed.fake.clock.after(1, managed.delete)
    assert managed.act("restart") == ("failed", "server_not_found")
    assert not managed.fake.live


def test_a_panel_that_is_down_after_the_stop_does_not_keep_the_server_down(managed: Managed) -> None:
    up(managed)
    managed.fake.engine.stop_seconds = 12.0
    managed.fake.clock.after(5, lambda: setattr(managed, "is_up", False))
    assert managed.act("restart") == ("done", "")


def test_a_server_moved_away_is_not_started_when_the_panel_is_down(managed: Managed) -> None:
    up(managed)
    managed.act("stop")
    managed.move()
    managed.call()
    assert managed.act("start") == ("refused", "server_not_found")
    managed.is_up = False
    managed.call(allow_stale=True)
    assert managed.act("start") == ("refused", "server_not_found")
    assert not managed.fake.live


@pytest.mark.parametrize(("check", "expected"), [(False, []), (True, [UUID])])
def test_a_start_of_all_keeps_the_list_where_no_server_is_left_in_it(managed: Managed, check: bool, expected: list[str]) -> None:
    up(managed)
    managed.act("kill")
    managed.fake.engine.containers.remove(UUID, volumes=False)
    managed.move()
    asked = managed.fake.request("start", check=check)
    assert on_node(managed.fake.node).targets(["all"], asked) == []
    assert json.loads((managed.fake.root / "state" / "panel.json").read_text())["servers"] == expected


def process(proc: Path, pid: int, comm: str | None, uid: int | None = None) -> None:
    directory = proc / str(pid)
    directory.mkdir()
    if comm is not None:
        (directory / "comm").write_text(f"{comm}\n")
    if uid is not None:
        os.chown(directory, uid, uid)


def test_wings_is_found_among_others(tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    (tmp_path / "uptime").write_text("1 1\n")
    process(tmp_path, 1, "systemd")
    process(tmp_path, 4711, "wings")
    assert wings_pid(str(tmp_path)) == 4711


@pytest.mark.parametrize("comm", ["java", "wingsx", "not wings", "Wings", ""])
def test_only_its_very_name_counts(tmp_path: Path, comm: str) -> None:
    process(tmp_path, 4711, comm)
    assert wings_pid(str(tmp_path)) is None


def test_a_process_that_ends_meanwhile_is_passed_over(tmp_path: Path) -> None:
    process(tmp_path, 17, None)
    process(tmp_path, 18, "wings")
    assert wings_pid(str(tmp_path)) == 18


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_servers_process_that_calls_itself_wings_is_not_believed(tmp_path: Path) -> None:
    process(tmp_path, 4711, "wings", uid=988)
    assert wings_pid(str(tmp_path)) is None


class TestRemembered:
    def test_many_threads_that_ask_at_once_look_once(self) -> None:
        looks: list[None] = []

        def find() -> int:
            time.sleep(0.05)
            looks.append(None)
            return 4711

        remembered = Remembered(find, 1.0, lambda: 0.0)
        with ThreadPoolExecutor(20) as pool:
            assert set(pool.map(lambda _number: remembered(), range(20))) == {4711}
        assert len(looks) == 1

    def test_after_a_second_it_is_looked_again(self) -> None:
        clock, found = FakeClock(), iter([None, 4711])
        remembered = Remembered(lambda: next(found), 1.0, clock.monotonic)
        assert remembered() is None
        clock.sleep(0.9)
        assert remembered() is None
        clock.sleep(0.1)
        assert remembered() == 4711
