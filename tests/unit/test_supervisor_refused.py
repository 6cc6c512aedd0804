# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts that are refused again and again: each reason is told once, and a server that is gone is not tried any more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn import perform
from ansible_collections.fleet.power.plugins.module_utils._power.journal.outbox import RecordedEvents
from ansible_collections.fleet.power.tests.unit.fake_node import UUID
from ansible_collections.fleet.power.tests.unit.watched_support import Watched

OTHER = "11111111-1111-4111-8111-111111111111"


@pytest.fixture(name="watched")
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    watched = Watched(tmp_path, monkeypatch)
    (watched.fake.file.with_name(f"{OTHER}.json")).write_text("{}")
    RecordedEvents(watched.fake.node.journal.store).open()
    yield watched
    watched.fake.close()


def told(watched: Watched) -> list[str]:
    """The codes of the starts that receivers of events are told of."""
    page = RecordedEvents(watched.fake.node.journal.store).after(0, 1000)
    assert page is not None
    return [event.data["code"] for event in page.events if event.type.value == "action.ended" and event.data["origin"] == "supervisor"]


def recorded(watched: Watched) -> list[str]:
    rows = watched.fake.node.journal.operations.of(UUID)
    return [row.code for row in reversed(rows) if row.origin == "supervisor"]


class TestTold:
    def test_each_reason_is_told_once_as_long_as_no_other_comes(self, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
        said: list[str] = []
        monkeypatch.setattr(perform, "announce", lambda result, _request: said.append(result.code))
        watched.up()
        watched.end()
        for given in ({"suspended": True}, {"environment": 3}, {"suspended": True}):
            watched.fake.define(**given)
            for _try in range(3):
                watched.await_start()
        codes = ["suspended", "definition_invalid", "suspended"]
        assert told(watched) == recorded(watched) == said[1:] == codes
        assert watched.row.tries == 9


class TestGone:
    def test_one_whose_definition_is_gone_is_not_tried_any_more(self, watched: Watched) -> None:
        watched.up()
        watched.end()
        watched.fake.file.unlink()
        watched.await_start()
        row = watched.row
        assert (row.due, row.code, watched.starter.seconds_left()) == (False, "server_not_found", None)
        assert told(watched) == ["server_not_found"]

    @pytest.mark.parametrize("where", ["the directory is missing", "the directory is empty", "the directory is a link that leads nowhere"])
    def test_where_nobody_can_tell_it_is_tried_until_the_definition_is_there(self, watched: Watched, where: str) -> None:
        """As a disk that is not mounted, or not yet."""
        directory = watched.fake.file.parent
        aside = directory.with_name("aside")
        watched.up()
        watched.end()
        os.rename(directory, aside)
        if where == "the directory is empty":
            directory.mkdir()
            (watched.fake.root / "state" / "definitions" / f"{OTHER}.json").write_text("{}")
        elif where.endswith("nowhere"):
            directory.symlink_to("/nowhere/at/all")
        waits = [watched.await_start() for _try in range(3)]
        assert (waits, watched.row.due, len(told(watched))) == ([0, 10, 20], True, 1)
        directory.unlink() if directory.is_symlink() else directory.exists() and directory.rmdir()
        os.rename(aside, directory)
        watched.await_start()
        assert watched.fake.live
