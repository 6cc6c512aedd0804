# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sender knows of a server without asking the Panel: by the file that counts, soon after it changed, nothing by a broken one."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from ansible_collections.fleet.power.plugins.module_utils._events.service import FRESH_SECONDS, LocalDefinitions
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import parse_definition
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition_files import KeptDefinitions
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import Settings, parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server

LOBBY = Server("9d0e4d0c-aaaa-4000-8000-000000000001", "Lobby")


class SetClock:
    """A clock that stands where the test sets it."""

    seconds = 0.0

    def now(self) -> datetime:
        raise NotImplementedError

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        raise NotImplementedError


def settings(root: Path, **more: str) -> Settings:
    system = {"state_directory": str(root / "state"), "definitions": str(root / "servers")}
    return parse_settings({"system": system, **more}, where="config.yml")


def written(owner: str) -> dict[str, object]:
    return {"settings": {"uuid": LOBBY.uuid, "container": {"image": "x"}, "labels": {"owner": owner}}, "process_configuration": {}}


def write(directory: Path, owner: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{LOBBY.uuid}.json").write_text(json.dumps(written(owner)))


def owner(at_hand: LocalDefinitions) -> str | None:
    found = at_hand(LOBBY)
    return None if found is None else dict(found.labels)["owner"]


def test_a_file_counts_and_where_there_is_a_panel_what_that_said_last(tmp_path: Path) -> None:
    assert owner(LocalDefinitions(settings(tmp_path))) is None
    write(tmp_path / "servers", "alice")
    KeptDefinitions(str(tmp_path / "state"), "").keep(parse_definition(written("bob"), where="x"))
    assert owner(LocalDefinitions(settings(tmp_path))) == "alice"
    with_panel = {"remote": "https://panel.example.test", "token": "t", "token_id": "i"}
    assert owner(LocalDefinitions(settings(tmp_path, **with_panel))) == "bob"


def test_a_file_that_is_broken_leaves_a_server_unknown(tmp_path: Path) -> None:
    (tmp_path / "servers").mkdir()
    (tmp_path / "servers" / f"{LOBBY.uuid}.json").write_text("{")
    assert owner(LocalDefinitions(settings(tmp_path))) is None


def test_a_change_counts_soon_and_no_file_is_read_for_each_event(tmp_path: Path) -> None:
    clock = SetClock()
    at_hand = LocalDefinitions(settings(tmp_path), clock)
    write(tmp_path / "servers", "alice")
    assert owner(at_hand) == "alice"
    write(tmp_path / "servers", "robert")
    clock.seconds = FRESH_SECONDS - 1
    assert owner(at_hand) == "alice"
    clock.seconds = FRESH_SECONDS
    assert owner(at_hand) == "robert"
