# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of a running server, and facts about outdated containers."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many import server_facts
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.server_facts import FactOptions, describe
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.perform import perform
from ansible_collections.fleet.power.plugins.module_utils._power.container.container_parts import ENGINE_LIMITS
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_answers import Use
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineError
from ansible_collections.fleet.power.plugins.module_utils._power.model.report import Described, diff, entry
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import ContainerLimits
from ansible_collections.fleet.power.tests.unit.fake_engine import LIMIT_FIELDS
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode

MB = 1_000_000


def limit(fake: FakeNode, **fields: Any) -> Result:
    return perform(fake.request("limit", **fields), fake.node)


def ended(fake: FakeNode, **fields: Any) -> tuple[str, str, bool]:
    result = limit(fake, **fields)
    return result.outcome.value, result.code, result.changed


def up(fake: FakeNode, build: dict[str, Any], now: dict[str, Any]) -> ContainerLimits:
    """Start the server with the limits of one definition, then write another one. Returns the limits in force."""
    fake.define(build=build)
    snapshot = fake.up()
    fake.define(build=now)
    return snapshot.limits


def writes(fake: FakeNode) -> list[str]:
    return [call for call in fake.engine.changes() if call == "set_limits"]


def use(memory: int) -> Use:
    return Use(at=0.0, cpu_seconds=0.0, memory=memory, memory_limit=0)


class TestChange:
    def test_a_limit_action_changes_all_limits_in_one_call_and_reports_them(self, fake: FakeNode) -> None:
        up(fake, {"memory_limit": 100, "swap": 10}, {"memory_limit": 500, "swap": 20, "cpu_limit": 50, "threads": "1", "io_weight": 300})
        run = fake.seen().run
        result = limit(fake)
        assert (result.outcome.value, result.changed, result.state.value if result.state else "") == ("done", True, "running")
        assert [change.facts() for change in result.limits] == [
            {"key": "build.memory_limit", "before": 100, "after": 500},
            {"key": "build.swap", "before": 10, "after": 20},
            {"key": "build.cpu_limit", "before": 0, "after": 50},
            {"key": "build.threads", "before": "", "after": "1"},
            {"key": "build.io_weight", "before": 0, "after": 300},
        ]
        assert writes(fake) == ["set_limits"] and fake.seen().run == run
        assert fake.seen().limits.memory_swap == 575 * MB + 20 * MB

    def test_a_repeated_limit_action_changes_no_limit_and_takes_no_lock(self, fake: FakeNode) -> None:
        up(fake, {}, {"cpu_limit": 50})
        assert ended(fake) == ("done", "", True)
        with fake.lock("limit"):
            pass
        assert ended(fake) == ("unchanged", "", False)
        assert writes(fake) == ["set_limits"]
        # An unchanged action does not displace a done one in the journal.
        assert [row.action for row in fake.node.journal.operations.of(UUID)] == ["limit", "start"]
        assert limit(fake).msg == "its limits match its definition"

    def test_a_limit_action_names_the_limits_that_need_a_restart_and_changes_the_rest(self, fake: FakeNode) -> None:
        up(fake, {"memory_limit": 100, "threads": "0"}, {"cpu_limit": 50})
        result = limit(fake)
        assert [change.key for change in result.limits] == ["build.cpu_limit"]
        assert result.restart == ("build.memory_limit", "build.threads")
        again = limit(fake)
        assert (again.outcome.value, again.msg) == ("unchanged", "only a restart applies build.memory_limit, build.threads")
        assert entry(again, check=False, all_steps=False)["restart"] == ["build.memory_limit", "build.threads"]

    def test_a_limit_that_the_node_cannot_change_is_a_warning(self, fake: FakeNode) -> None:
        fake.engine.unable = {"BlkioWeight"}
        up(fake, {}, {"io_weight": 300, "cpu_limit": 50})
        result = limit(fake)
        assert [change.key for change in result.limits] == ["build.cpu_limit"]
        assert result.warnings == (f"server {UUID}: BlkioWeight discarded", f"server {UUID}: this node cannot change build.io_weight")
        assert ended(fake) == ("unchanged", "", False)

    def test_a_limit_action_waits_for_the_lock_and_reads_the_definition_again(self, fake: FakeNode) -> None:
        up(fake, {}, {"cpu_limit": 50})
        holder = fake.lock("restart")

        def released() -> None:
            fake.define(build={"cpu_limit": 70})
            holder.release()

        fake.clock.after(5.0, released)
        result = limit(fake, wait_seconds=10)
        assert [change.after for change in result.limits] == [70] and 4.9 < result.waited_seconds < 6
        with fake.lock("restart"):
            fake.define(build={"cpu_limit": 90})
            assert ended(fake, wait_seconds=0) == ("refused", "lock_timeout", False)


class TestRefused:
    @pytest.mark.parametrize("check", [False, True])
    @pytest.mark.parametrize(
        ("given", "fields", "outcome"),
        [
            ({"suspended": True}, {}, ("refused", "suspended", False)),
            ({"suspended": True}, {"one_of_all": True}, ("skipped", "suspended", False)),
            ({"build": {"memory_limit": 3}}, {}, ("refused", "definition_invalid", False)),
        ],
    )
    def test_a_suspended_server_or_an_invalid_definition_is_not_changed(
        self, fake: FakeNode, check: bool, given: dict[str, Any], fields: dict[str, Any], outcome: tuple[str, str, bool]
    ) -> None:
        fake.up()
        fake.define(**given)
        assert ended(fake, check=check, **fields) == outcome and fake.engine.changes() == []

    def test_a_foreign_container_is_left_alone(self, fake: FakeNode) -> None:
        up(fake, {}, {"cpu_limit": 50})
        fake.engine.change(UUID, labels={}, hostname="other")
        assert ended(fake) == ("refused", "container_foreign", False)

    @pytest.mark.parametrize("check", [False, True])
    def test_a_memory_limit_below_the_use_is_refused(self, fake: FakeNode, check: bool) -> None:
        before = up(fake, {"memory_limit": 500}, {"memory_limit": 100})
        fake.engine.used = use(116 * MB)
        result = limit(fake, check=check)
        assert (result.outcome.value, result.code, result.changed) == ("refused", "limit_below_use", False)
        assert "it uses 116 MB of memory, and its definition allows 115 MB, overhead included" in result.msg
        assert fake.seen().limits == before
        fake.engine.used = use(115 * MB)
        assert ended(fake, check=check) == ("done", "", True)


class TestFailure:
    OLD, NEW = {"memory_limit": 100, "swap": 10}, {"memory_limit": 500, "cpu_limit": 50}

    def test_a_partly_refused_change_restores_the_old_limits(self, fake: FakeNode) -> None:
        before = up(fake, self.OLD, self.NEW)
        fake.engine.fail("set_limits", EngineError("Cannot change the limits of container x: no", status=500), late=True)
        result = limit(fake)
        assert (result.outcome.value, result.code, result.changed) == ("failed", "engine_error", False)
        assert result.msg == f"Cannot limit server {UUID}: no; the old limits are in force again"
        now = fake.seen().limits
        assert (now.memory, now.memory_swap, now.reservation) == (before.memory, before.memory_swap, before.reservation)
        assert now.cpu_quota == -1 and writes(fake) == ["set_limits"] * 2

    def test_a_slow_answer_of_the_engine_does_not_fail_the_action(self, fake: FakeNode) -> None:
        up(fake, self.OLD, self.NEW)
        fake.engine.silence("set_limits", late=True)
        assert ended(fake) == ("done", "", True)


class TestCheck:
    def test_a_dry_run_reports_the_changes_and_changes_no_limit(self, fake: FakeNode) -> None:
        before = up(fake, {"memory_limit": 100}, {"memory_limit": 500})
        result = limit(fake, check=True)
        assert (result.outcome.value, result.changed, [step.value for step in result.plan]) == ("done", True, ["limit"])
        assert [change.facts() for change in result.limits] == [{"key": "build.memory_limit", "before": 100, "after": 500}]
        assert fake.engine.changes() == [] and fake.seen().limits == before
        shown = diff([result])[1]
        assert (shown["before"], shown["after"]) == ("build.memory_limit: 100\n", "build.memory_limit: 500\n")
        assert shown["before_header"] == "Cobalt: limits"


def look(fake: FakeNode, *names: str) -> Described:
    return describe(names, fake.build(), FactOptions(), remember=lambda _uuid, _run: None)


def outdated(fake: FakeNode) -> Any:
    (entry,) = look(fake, UUID).entries
    return entry["outdated"]


NONE = {"is_outdated": False, "differs": [], "restart": [], "in_place": [], "next_start": [], "failed": False, "why": None}
UNKNOWN = {"is_outdated": None, "differs": None, "restart": None, "in_place": None, "next_start": None, "failed": False}


def test_each_outdated_key_names_the_action_that_applies_it(fake: FakeNode) -> None:
    fake.up()
    assert outdated(fake) == NONE
    fake.define(environment={"MOTD": "secret words"}, build={"cpu_limit": 50})
    assert outdated(fake) == {
        **NONE,
        "is_outdated": True,
        "differs": ["build.cpu_limit", "environment.MOTD"],
        "restart": ["environment.MOTD"],
        "in_place": ["build.cpu_limit"],
    }
    assert "secret" not in str(look(fake).entries)
    assert fake.perform("restart").outcome.value == "done"
    assert outdated(fake) == NONE


def test_a_missing_image_leaves_the_comparison_unknown(fake: FakeNode) -> None:
    fake.up()
    fake.engine.images.clear()
    found = look(fake, UUID)
    why = "Cannot tell what image game:1 means now: it is not on the node; pull it"
    assert found.entries[0]["outdated"] == {**UNKNOWN, "why": why}
    assert found.warnings == (f"Cannot tell whether Cobalt is outdated: {why}",)
    # This key differs with any image.
    fake.define(invocation="other")
    assert outdated(fake)["differs"] == ["invocation"]


def test_an_unreadable_definition_is_not_replaced_by_the_last_readable_one(fake: FakeNode) -> None:
    fake.up()
    fake.file.write_text("{")
    node = fake.build()
    found = describe([UUID], node, FactOptions(), remember=lambda _uuid, _run: None)
    assert found.entries[0]["name"] == "Cobalt" and found.entries[0]["outdated"]["is_outdated"] is None
    # One warning is enough.
    assert "Cannot read definition" in str(node.sources.warnings) and "outdated" not in str(found.warnings)
    fake.file.unlink()


def test_a_silent_image_query_does_not_delay_the_facts(fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    fake.up()
    released = threading.Event()
    monkeypatch.setattr(server_facts, "_IMAGES_SECONDS", 0.05)
    monkeypatch.setattr(fake.engine.images, "find", lambda _name: released.wait(10))
    try:
        assert outdated(fake)["is_outdated"] is None and "took more than" in outdated(fake)["why"]
    finally:
        released.set()


class TestBoot:
    def test_an_old_memory_variable_is_updated_at_the_next_start(self, fake: FakeNode) -> None:
        snapshot = fake.up()
        fake.define(build={"memory_limit": 100})
        memory = {"memory": 115_000_000, "reservation": 100_000_000, "memory_swap": 115_000_000}
        fake.engine.change(UUID, limits=type(snapshot.limits)(**memory, pids=512))
        assert outdated(fake) == {**NONE, "next_start": ["environment.SERVER_MEMORY"]}
        assert fake.perform("restart").outcome.value == "done"
        assert fake.seen().id != snapshot.id and "SERVER_MEMORY=100" in fake.seen().environment


def ended_facts(fake: FakeNode, **fields: Any) -> tuple[str, str]:
    result = fake.perform("restart", outdated=True, **fields)
    return result.outcome.value, result.code


class TestSelection:
    def test_a_server_that_is_not_outdated_is_skipped_without_a_trace(self, fake: FakeNode) -> None:
        snapshot = fake.up()
        result = fake.perform("restart", outdated=True)
        assert (result.outcome.value, result.code, result.changed) == ("skipped", "not_selected", False)
        assert result.msg == f"Server {UUID} is not outdated: its container matches its definition" and result.server.name == "Cobalt"
        assert fake.seen().run == snapshot.run and [row.action for row in fake.node.journal.operations.of(UUID)] == ["start"]

    @pytest.mark.parametrize("given", [{"invocation": "other"}, {"build": {"cpu_limit": 50}}])
    def test_an_outdated_server_is_restarted(self, fake: FakeNode, given: dict[str, Any]) -> None:
        fake.up()
        fake.define(**given)
        assert ended_facts(fake) == ("done", "")
        assert ended_facts(fake) == ("skipped", "not_selected")

    def test_a_server_without_a_container_is_not_outdated(self, fake: FakeNode) -> None:
        assert ended_facts(fake) == ("skipped", "not_selected")

    def test_an_unknown_comparison_is_refused_with_its_reason(self, fake: FakeNode) -> None:
        fake.up()
        fake.file.write_text("{")
        assert ended_facts(fake) == ("refused", "definition_invalid")
        fake.define()
        fake.engine.images.clear()
        assert ended_facts(fake) == ("refused", "image_unavailable")
        fake.define(build={"memory_limit": 3})
        assert ended_facts(fake) == ("refused", "definition_invalid")
        assert fake.live and fake.engine.changes() == []

    def test_the_comparison_is_repeated_under_the_lock(self, fake: FakeNode) -> None:
        fake.up()
        fake.define(invocation="other")

        def restarted_elsewhere() -> None:
            holder.release()
            assert fake.perform("restart").outcome.value == "done"

        holder = fake.lock("restart")
        fake.clock.after(5.0, restarted_elsewhere)
        assert ended_facts(fake) == ("skipped", "not_selected")
        assert [row.outcome for row in fake.node.journal.operations.of(UUID)] == ["skipped", "done", "done"]

    def test_a_dry_run_reports_the_same_comparison(self, fake: FakeNode) -> None:
        fake.up()
        assert ended_facts(fake, check=True) == ("skipped", "not_selected")
        fake.define(invocation="other")
        result = fake.perform("restart", outdated=True, check=True)
        assert (result.outcome.value, result.changed) == ("done", True)
        fake.file.write_text("{")
        assert ended_facts(fake, check=True) == ("refused", "definition_invalid")


def test_the_fake_engine_has_each_limit_of_the_engine() -> None:
    assert set(LIMIT_FIELDS) == set(ENGINE_LIMITS)
