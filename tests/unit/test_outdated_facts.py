# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers are told whether containers are what their definitions say; what nobody can tell is null with a warning, never false."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many import outdated_facts
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.server_facts import FactOptions, describe
from ansible_collections.fleet.power.plugins.module_utils._power.model.report import Described
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode


def look(fake: FakeNode, *names: str) -> Described:
    return describe(names, fake.build(), FactOptions(), remember=lambda _uuid, _run: None)


def told(fake: FakeNode) -> Any:
    (entry,) = look(fake, UUID).entries
    return entry["outdated"]


NONE = {"is_outdated": False, "differs": [], "restart": [], "in_place": [], "next_start": [], "why": None}
UNKNOWN = {"is_outdated": None, "differs": None, "restart": None, "in_place": None, "next_start": None}


def test_keys_are_named_by_what_brings_them_in_line(fake: FakeNode) -> None:
    fake.up()
    assert told(fake) == NONE
    fake.define(environment={"MOTD": "secret words"}, build={"cpu_limit": 50})
    assert told(fake) == {
        **NONE,
        "is_outdated": True,
        "differs": ["build.cpu_limit", "environment.MOTD"],
        "restart": ["environment.MOTD"],
        "in_place": ["build.cpu_limit"],
    }
    assert "secret" not in str(look(fake).entries)
    assert fake.perform("restart").outcome.value == "done"
    assert told(fake) == NONE


def test_an_image_that_is_not_on_the_node_leaves_it_unknown(fake: FakeNode) -> None:
    fake.up()
    fake.engine.images.clear()
    found = look(fake, UUID)
    why = "Cannot tell what image game:1 means now: it is not on the node; pull it"
    assert found.entries[0]["outdated"] == {**UNKNOWN, "why": why}
    assert found.warnings == (f"Cannot tell whether Cobalt is outdated: {why}",)
    # Whatever the image is, this differs.
    fake.define(invocation="other")
    assert told(fake)["differs"] == ["invocation"]


def test_a_definition_that_cannot_be_read_is_not_taken_for_the_last_one_that_could(fake: FakeNode) -> None:
    fake.up()
    fake.file.write_text("{")
    node = fake.build()
    found = describe([UUID], node, FactOptions(), remember=lambda _uuid, _run: None)
    assert found.entries[0]["name"] == "Cobalt" and found.entries[0]["outdated"]["is_outdated"] is None
    # One warning is enough.
    assert "Cannot read definition" in str(node.sources.warnings) and "outdated" not in str(found.warnings)
    fake.file.unlink()


def test_an_engine_that_is_silent_about_images_is_not_waited_for(fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    fake.up()
    released = threading.Event()
    monkeypatch.setattr(outdated_facts, "_IMAGES_SECONDS", 0.05)
    monkeypatch.setattr(fake.engine.images, "find", lambda _name: released.wait(10))
    try:
        assert told(fake)["is_outdated"] is None and "took more than" in told(fake)["why"]
    finally:
        released.set()


class TestBoot:
    def test_one_whose_memory_was_tells_its_process_from_the_next_start_on(self, fake: FakeNode) -> None:
        snapshot = fake.up()
        fake.define(build={"memory_limit": 100})
        memory = {"memory": 115_000_000, "reservation": 100_000_000, "memory_swap": 115_000_000}
        fake.engine.change(UUID, limits=type(snapshot.limits)(**memory, pids=512))
        assert told(fake) == {**NONE, "next_start": ["environment.SERVER_MEMORY"]}
        assert fake.perform("restart").outcome.value == "done"
        assert fake.seen().id != snapshot.id and "SERVER_MEMORY=100" in fake.seen().environment


def ended(fake: FakeNode, **fields: Any) -> tuple[str, str]:
    result = fake.perform("restart", outdated=True, **fields)
    return result.outcome.value, result.code


class TestSelection:
    """`outdated` of an action: only a server whose container is not what its definition says."""

    def test_one_that_is_what_its_definition_says_is_passed_over_without_a_trace(self, fake: FakeNode) -> None:
        snapshot = fake.up()
        result = fake.perform("restart", outdated=True)
        assert (result.outcome.value, result.code, result.changed) == ("skipped", "not_selected", False)
        assert result.msg == f"Server {UUID} is not outdated: its container is what its definition says" and result.server.name == "Cobalt"
        assert fake.seen().run == snapshot.run and [row.action for row in fake.node.journal.operations.of(UUID)] == ["start"]

    @pytest.mark.parametrize("given", [{"invocation": "other"}, {"build": {"cpu_limit": 50}}])
    def test_one_that_is_not_is_restarted(self, fake: FakeNode, given: dict[str, Any]) -> None:
        fake.up()
        fake.define(**given)
        assert ended(fake) == ("done", "")
        assert ended(fake) == ("skipped", "not_selected")

    def test_one_without_a_container_has_none_that_is_outdated(self, fake: FakeNode) -> None:
        assert ended(fake) == ("skipped", "not_selected")

    def test_what_nobody_can_tell_is_refused_with_its_reason(self, fake: FakeNode) -> None:
        fake.up()
        fake.file.write_text("{")
        assert ended(fake) == ("refused", "definition_invalid")
        fake.define()
        fake.engine.images.clear()
        assert ended(fake) == ("refused", "image_unavailable")
        fake.define(build={"memory_limit": 3})
        assert ended(fake) == ("refused", "definition_invalid")
        assert fake.live and fake.engine.changes() == []

    def test_it_is_looked_at_again_under_the_lock(self, fake: FakeNode) -> None:
        fake.up()
        fake.define(invocation="other")

        def restarted_elsewhere() -> None:
            holder.release()
            assert fake.perform("restart").outcome.value == "done"

        holder = fake.lock("restart")
        fake.clock.after(5.0, restarted_elsewhere)
        assert ended(fake) == ("skipped", "not_selected")
        assert [row.outcome for row in fake.node.journal.operations.of(UUID)] == ["skipped", "done", "done"]

    def test_check_mode_tells_the_same(self, fake: FakeNode) -> None:
        fake.up()
        assert ended(fake, check=True) == ("skipped", "not_selected")
        fake.define(invocation="other")
        result = fake.perform("restart", outdated=True, check=True)
        assert (result.outcome.value, result.changed) == ("done", True)
        fake.file.write_text("{")
        assert ended(fake, check=True) == ("refused", "definition_invalid")
