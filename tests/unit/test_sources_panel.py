# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Panel as a source: only starts and restarts ask it, after the task and before the directory. Kept definitions replace it."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import (
    InterruptedBySignal,
    ServerNotFound,
    SourceDenied,
    SourceUnreachable,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.plugins.module_utils._power.sources.panel import Panel, PanelUnavailable
from ansible_collections.fleet.power.plugins.module_utils._power.sources.source_set import SourceSet
from ansible_collections.fleet.power.plugins.module_utils._power.sources.sources import Sources
from ansible_collections.fleet.power.plugins.module_utils._power.sources.web import Answer
from ansible_collections.fleet.power.tests.unit.lock_support import NO_GROUP, OwnClock, mode_of

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
START, RESTART, STOP, KILL = PowerAction.START, PowerAction.RESTART, PowerAction.STOP, PowerAction.KILL


def definition(uuid: str, name: str = "", **settings: Any) -> dict[str, Any]:
    return {"settings": {"uuid": uuid, "meta": {"name": name}, "container": {"image": "img"}, **settings}}


class Scripted:
    """The Panel's answers without a network. ``asked`` lists the numbers of pages and the UUIDs of servers."""

    def __init__(self) -> None:
        self.address = "http://panel.test"
        self.servers: dict[str, Any] = {}
        self.elsewhere: dict[str, Any] = {}
        self.fault: Exception | None = None
        self.asked: list[object] = []
        self.retries: list[bool] = []
        self.gate: threading.Event | None = None

    def page(self, number: int, patience: Any, check_cancelled: Any) -> Any:
        self._ask(number, patience)
        return Answer(200, {}, {"data": [{"uuid": uuid, **raw} for uuid, raw in self.servers.items()], "meta": {"last_page": 1}}, "")

    def server(self, uuid: str, patience: Any, check_cancelled: Any) -> Any:
        self._ask(uuid, patience)
        return {**self.elsewhere, **self.servers}.get(uuid)

    def unreachable(self, what: str, reason: object) -> SourceUnreachable:
        return SourceUnreachable(f"Cannot fetch {what} from the Panel at {self.address}: {reason}")

    def _ask(self, what: object, patience: Any) -> None:
        self.asked.append(what)
        self.retries.append(patience.retries)
        if self.gate is not None:
            self.gate.wait(10)
        if self.fault is not None:
            raise self.fault


class Place:
    """A node's directories, a Panel, and the sources over them. Each call of `sources` begins without a cache."""

    def __init__(self, base: Path) -> None:
        self.api = Scripted()
        self.directory, self.state = base / "servers", base / "state"
        self.directory.mkdir()

    def sources(self, *task: object, containers: Sequence[Server] = (), allow_stale: bool = False) -> Sources:
        system = {"definitions": str(self.directory), "state_directory": str(self.state), "group": NO_GROUP}
        query = {"allow_stale": allow_stale}
        settings = parse_settings({"remote": self.api.address, "system": system, "remote_query": query}, where="test")
        self.clock = OwnClock()
        panel = Panel(settings, self.clock, self.api)  # type: ignore[arg-type]
        return Sources(SourceSet(settings, task=task, containers=lambda: containers, panel=panel))

    def write(self, uuid: str, name: str = "") -> None:
        (self.directory / f"{uuid}.json").write_text(json.dumps(definition(uuid, name)))

    def panel(self, uuid: str, name: str = "", **settings: Any) -> None:
        self.api.servers[uuid] = definition(uuid, name, **settings)

    def booted(self, uuid: str) -> None:
        sources = self.sources()
        sources.keep(sources.definition(uuid))
        assert sources.warnings == []
        self.api.asked.clear()

    def down(self) -> None:
        self.api.fault = PanelUnavailable("connection refused")

    def denies(self) -> None:
        self.api.fault = SourceDenied("Cannot use the Panel: it refuses")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("action", [STOP, KILL])
def test_stop_and_kill_never_ask_the_panel(place: Place, action: PowerAction) -> None:
    place.panel(A, "Lobby")
    place.booted(A)
    place.down()
    sources = place.sources()
    assert sources.search.identify("Lobby", action) == sources.search.identify("aaaaaaaa", action) == Server(A, "Lobby")
    found = sources.definition_for_stop(A)
    assert found is not None and found.server.name == "Lobby"
    assert sources.listing.everything(action) == [] and sources.listing.has(A) and not sources.listing.has(B)
    assert (place.api.asked, sources.warnings) == ([], [])


def test_a_panel_without_an_answer_does_not_make_a_server_missing(place: Place) -> None:
    place.write(A)
    for fault, kind in ((place.down, SourceUnreachable), (place.denies, SourceDenied)):
        fault()
        with pytest.raises(kind):
            place.sources().definition(A)
        with pytest.raises(kind):
            place.sources().search.identify("Nobody", START)


def test_a_repeated_request_and_a_cancellation_check_reach_the_panel(place: Place) -> None:
    place.panel(A)
    sources = place.sources()
    sources.definition(A)
    sources.definition(A, again=True)
    assert place.api.asked == [1, A]

    def look() -> None:
        raise InterruptedBySignal("a signal")

    place.api.gate = threading.Event()
    for ask in (
        lambda: place.sources().definition(A, check_cancelled=look),
        lambda: place.sources().search.identify("aaaaaaaa", START, check_cancelled=look),
        lambda: place.sources().listing.everything(START, check_cancelled=look),
        lambda: place.sources().listing.everything(None, check_cancelled=look),
    ):
        with pytest.raises(InterruptedBySignal):
            ask()
    place.api.gate.set()


def test_no_server_is_missing_while_the_panel_does_not_answer(place: Place) -> None:
    place.panel(A, "Lobby")
    for fault, kind in ((place.down, SourceUnreachable), (place.denies, SourceDenied)):
        fault()
        sources = place.sources()
        assert sources.search.identify_to_look(A).uuid == A
        with pytest.raises(kind):
            sources.listing.has(A)
        with pytest.raises(kind):
            place.sources().search.identify_to_look("Lobby")


def test_kept_definitions_replace_an_unreachable_panel_only_if_allowed(place: Place) -> None:
    place.panel(A, "Lobby")
    place.booted(A)
    place.down()
    with pytest.raises(SourceUnreachable):
        place.sources().definition(A)
    sources = place.sources(allow_stale=True)
    assert sources.definition(A).server.name == "Lobby"
    assert sources.search.identify("Lobby", START) == Server(A, "Lobby")
    assert sources.listing.everything(START) == [Server(A, "Lobby")]
    assert all("as allow_stale says" in warning for warning in sources.warnings) and len(sources.warnings) == 2


def test_a_server_that_left_the_node_does_not_start_from_a_stale_definition(place: Place) -> None:
    place.panel(A)
    place.booted(A)
    del place.api.servers[A]
    sources = place.sources()
    with pytest.raises(ServerNotFound):
        sources.definition(A)
    sources.keep_list()
    place.down()
    with pytest.raises(ServerNotFound):
        place.sources(allow_stale=True).definition(A)


def test_only_a_list_of_the_panel_proves_that_a_server_is_gone(place: Place) -> None:
    place.panel(A)
    place.booted(A)
    del place.api.servers[A]
    place.panel(B)
    place.booted(B)
    sources = place.sources()
    assert not sources.surely_lacks(A)
    with pytest.raises(ServerNotFound):
        sources.definition(A)
    assert (sources.surely_lacks(A), sources.surely_lacks(B)) == (True, False)
    place.down()
    sources = place.sources(allow_stale=True)
    with pytest.raises(ServerNotFound):
        sources.definition(A)
    assert not sources.surely_lacks(A)


def test_a_read_keeps_no_definition(place: Place) -> None:
    place.panel(A)
    place.sources().listing.everything(None)
    with pytest.raises(ServerNotFound):
        place.sources().definition(B)
    assert not place.state.exists()


@pytest.mark.parametrize("elsewhere", ["task", "directory"])
def test_a_definition_kept_from_another_source_never_replaces_the_panel(place: Place, elsewhere: str) -> None:
    place.panel(A, suspended=True)
    place.booted(A)
    # Like a copy of a kept definition.
    other = {**definition(A, "Other"), "panel": place.api.address, "schema": 1}
    if elsewhere == "directory":
        place.write(A, "Other")
        del place.api.servers[A]
    sources = place.sources(*([other] if elsewhere == "task" else []))
    sources.keep(sources.definition(A))
    place.panel(A, suspended=True)
    sources = place.sources()
    sources.listing.everything(START)
    sources.keep_list()
    place.down()
    with pytest.raises(SourceUnreachable):
        place.sources(allow_stale=True).definition(A)
    kept = place.sources().definition_for_stop(A)
    assert kept is not None and kept.server.name == "Other"


@pytest.mark.parametrize("content", ["", "{", "[]", "5", '{"panel": 5}', '{"panel": "http://panel.test", "schema": 1, "servers": 5}'])
def test_an_unreadable_kept_list_allows_no_stale_definition(place: Place, content: str) -> None:
    place.panel(A)
    place.booted(A)
    (place.state / "panel.json").write_text(content)
    place.down()
    with pytest.raises(SourceUnreachable):
        place.sources(allow_stale=True).definition(A)


def test_the_kept_list_is_for_the_group_only_without_secrets_and_written_once(place: Place) -> None:
    place.panel(A, environment={"PASSWORD": "hunter22"})
    place.booted(A)
    path = place.state / "panel.json"
    first = path.stat().st_ino
    place.booted(A)
    assert (mode_of(path), path.stat().st_ino) == (0o660, first)
    assert "hunter22" not in path.read_text()
