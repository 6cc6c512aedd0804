# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Supervised servers, the waits between two tries, and the record of the supervisor."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import Definition, parse_definition, secrets_of
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import Settings, parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.supervision import Policy, definition_fingerprint, policy_of
from ansible_collections.fleet.power.plugins.module_utils._power.host.supervisor_record import (
    PAUSES,
    SUPERVISOR_LOCK,
    UNKNOWN,
    SupervisorRecord,
    read_record,
    supervisor_facts,
    write_record,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import LockUnavailable, SettingsInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import (
    LOOP_WAIT,
    EndedRun,
    Limits,
    SupervisionState,
    Verdict,
    seconds_left,
    supervision_of,
    wait_before,
)
from ansible_collections.fleet.power.plugins.module_utils._service import own_lock
from ansible_collections.fleet.power.tests.unit.fake_node import FakeNode
from ansible_collections.fleet.power.tests.unit.lock_support import NO_GROUP, mode_of, small_disk
from hypothesis import given
from hypothesis import strategies as st

FIXTURES = Path(__file__).parent / "fixtures" / "definitions"
PAPER = Server("566bf9d7-c55a-45f8-91a6-e55e9b9b1325", "Paper")
EGG = "5d96cf7f-265b-4da9-8f0c-26ef4243ed52"
LABELS = {"tier": "gold", "kind": "lobby"}


def definition(**own: Any) -> Definition:
    written = {"uuid": PAPER.uuid, "meta": {"name": PAPER.name}, "container": {"image": "game:1"}, "egg": {"id": EGG}, "labels": LABELS}
    return parse_definition({"settings": {**written, **own}}, where="paper.json")


def settings(*rules: object, wings: object = None, **own: object) -> Settings:
    system = {} if wings is None else {"system": {"crash_detection": wings}}
    return parse_settings({**system, "supervisor": {**own, "rules": list(rules)}}, where="config.yml")


def policy(*rules: object, of: Definition | None = None, wings: object = None, **own: object) -> Policy:
    return policy_of(settings(*rules, wings=wings, **own), PAPER, definition() if of is None else of)


class TestSupervised:
    def test_every_server_is_supervised_by_default(self) -> None:
        assert policy() == Policy(supervised=True, clean_exit=False, limits=Limits(10, 600.0), why="")
        assert policy_of(settings(), PAPER, None) == policy()


class TestCleanExit:
    def test_a_rule_overrides_the_setting_and_the_setting_overrides_wings(self) -> None:
        wings = {"detect_clean_exit_as_crash": True}
        assert not policy(wings=wings, clean_exit="leave").clean_exit
        assert policy(clean_exit="restart").clean_exit
        assert policy({"server": "Paper", "clean_exit": "restart"}, clean_exit="leave").clean_exit
        assert not policy({"server": "Paper", "clean_exit": "leave"}, wings=wings, clean_exit="restart").clean_exit


class TestRules:
    @pytest.mark.parametrize(
        "selectors, applies",
        [
            ({"server": "Paper"}, True),
            ({"server": PAPER.uuid.upper()}, True),
            ({"egg": EGG.upper()}, True),
            ({"label": {"tier": "gold"}}, True),
            ({"server": "Paper", "egg": EGG, "label": LABELS}, True),
            ({"server": "paper"}, False),
            ({"egg": "other"}, False),
            ({"label": {"tier": "silver"}}, False),
            ({"server": "Paper", "egg": "other"}, False),
            ({"server": "Lobby", "egg": EGG, "label": LABELS}, False),
        ],
    )
    def test_a_rule_applies_only_to_a_server_that_matches_all_selectors(self, selectors: dict[str, object], applies: bool) -> None:
        assert policy({**selectors, "supervise": False}).supervised is not applies

    @pytest.mark.parametrize("selectors", [{}, {"egg": ""}, {"label": {}}])
    def test_a_rule_without_a_selector_is_refused(self, selectors: dict[str, object]) -> None:
        with pytest.raises(SettingsInvalid) as caught:
            settings({"server": "Paper", "supervise": True}, {**selectors, "supervise": False})
        assert str(caught.value) == (
            "Cannot read settings config.yml: supervisor.rules[1] selects no server, expected one or more of server, egg and label"
        )

    def test_a_rule_without_a_setting_is_refused(self) -> None:
        with pytest.raises(SettingsInvalid, match=r"supervisor\.rules\[0\] sets nothing, expected one or more of supervise, clean_exit"):
            settings({"server": "Paper"})

    @pytest.mark.parametrize(
        ("key", "value", "expected"),
        [
            ("clean_exit", "crash", "restart or leave"),
            ("max_restarts", 1001, "a whole number from 0 to 1000"),
            ("max_restarts", -1, "a whole number from 0 to 1000"),
            ("reset_after", 0, "a whole number of seconds from 1 to 604800"),
            ("supervise", "no", "true or false"),
        ],
    )
    def test_values_in_a_rule_have_the_bounds_of_the_settings(self, key: str, value: object, expected: str) -> None:
        with pytest.raises(SettingsInvalid, match=rf"supervisor\.rules\[0\]\.{key} is .*, expected {expected}$"):
            settings({"server": "Paper", key: value})
        own = "enabled" if key == "supervise" else key
        with pytest.raises(SettingsInvalid, match=rf"supervisor\.{own} is .*, expected {expected}$"):
            settings(**{own: value})


class TestFingerprint:
    RAW: dict[str, Any] = json.loads((FIXTURES / "paper.json").read_text(encoding="utf-8"))

    def of(self, raw: object) -> str:
        return definition_fingerprint(parse_definition(raw, where="paper.json"))

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("settings.suspended", True),
            ("settings.build.memory_limit", 1),
            ("settings.environment.NEW", "x"),
            ("settings.mounts", [{"source": "/srv/maps", "target": "/maps"}]),
            ("process_configuration.configs", []),
        ],
    )
    def test_the_fingerprint_changes_with_each_field_that_affects_a_start(self, path: str, value: object) -> None:
        raw = copy.deepcopy(self.RAW)
        *outer, last = path.split(".")
        node = raw
        for name in outer:
            node = node[name]
        node[last] = value
        assert self.of(raw) != self.of(self.RAW)

    def test_the_fingerprint_contains_no_secret(self) -> None:
        found = definition(environment={"PASSWORD": "hunter22"})
        assert len(definition_fingerprint(found)) == 64
        assert not any(secret in definition_fingerprint(found) for secret in secrets_of(found))


LIMITS = Limits(max_restarts=10, reset_after=600.0)
CRASH = EndedRun(
    Server("566bf9d7-c55a-45f8-91a6-e55e9b9b1325", "Paper"),
    Run("c1", "2026-03-01T10:00:00Z"),
    Verdict.CRASHED,
    due=True,
    consecutive_crashes=1,
    boot="b1",
    next_at=100.0,
)


def state_of(*rows: EndedRun, live: bool = False, crashes_in_day: int = 1, limits: Limits = LIMITS) -> SupervisionState:
    return supervision_of(rows, live=live, crashes_in_day=crashes_in_day, limits=limits)


class TestWaitBefore:
    @pytest.mark.parametrize(
        ("consecutive_crashes", "wait"), [(1, 0), (2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 300), (8, 300), (10, 300)]
    )
    def test_the_first_crash_causes_no_wait_and_later_crashes_longer_waits(self, consecutive_crashes: int, wait: float) -> None:
        assert wait_before(consecutive_crashes, 0, LIMITS) == wait

    @pytest.mark.parametrize(("tries", "wait"), [(0, 0), (1, 0), (2, 10), (3, 20)])
    def test_after_an_end_without_a_crash_the_first_try_is_immediate(self, tries: int, wait: float) -> None:
        assert wait_before(0, tries, LIMITS) == wait

    @given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 1000))
    def test_every_wait_is_between_zero_and_the_longest_wait(self, consecutive_crashes: int, tries: int, most: int) -> None:
        assert 0 <= wait_before(consecutive_crashes, tries, Limits(most)) <= LOOP_WAIT

    @given(st.integers(0, 1000))
    def test_another_crash_never_shortens_the_wait(self, most: int) -> None:
        waits = [wait_before(consecutive_crashes, 0, Limits(most)) for consecutive_crashes in range(most + 3)]
        assert all(earlier <= later for earlier, later in zip(waits, waits[1:]))


class TestSecondsLeft:
    @pytest.mark.parametrize(("now", "left"), [(40.0, 60.0), (100.0, 0.0), (5000.0, 0.0)])
    def test_seconds_left_count_down_to_the_next_try_and_stop_at_zero(self, now: float, left: float) -> None:
        assert seconds_left(CRASH, "b1", now) == left

    @given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1e9))
    def test_seconds_left_never_exceed_the_longest_wait(self, next_at: float, now: float) -> None:
        assert 0 <= seconds_left(replace(CRASH, next_at=next_at), "b1", now) <= LOOP_WAIT


class TestSupervisionOf:
    @pytest.mark.parametrize("due", [True, False])
    def test_more_consecutive_crashes_than_allowed_are_a_crash_loop(self, due: bool) -> None:
        assert state_of(replace(CRASH, consecutive_crashes=11, due=due)) is SupervisionState.CRASH_LOOP

    @pytest.mark.parametrize("verdict", [each for each in Verdict if each is not Verdict.STOPPED])
    def test_a_server_that_is_down_and_not_due_stays_down(self, verdict: Verdict) -> None:
        assert state_of(replace(CRASH, verdict=verdict, due=False)) is SupervisionState.STAYS_DOWN

    def test_a_stopped_server_is_ok(self) -> None:
        assert state_of(replace(CRASH, verdict=Verdict.STOPPED, due=False)) is SupervisionState.OK

    @pytest.mark.parametrize(("crashes", "state"), [(5, SupervisionState.OK), (6, SupervisionState.FLAPPING)])
    def test_a_live_server_with_more_than_five_crashes_in_a_day_is_flapping(self, crashes: int, state: SupervisionState) -> None:
        assert state_of(CRASH, live=True, crashes_in_day=crashes) is state


SINCE = "2026-01-31T12:00:00.000Z"


@contextmanager
def opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory / SUPERVISOR_LOCK, os.O_RDWR | os.O_CREAT, 0o660)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("paused", ["", *PAUSES])
def test_the_facts_of_a_running_supervisor_name_the_reason_of_a_pause(tmp_path: Path, paused: str) -> None:
    with opened(tmp_path) as descriptor:
        write_record(descriptor, SupervisorRecord.of_this_process(SINCE, "maintenance_unreadable"))
        write_record(descriptor, SupervisorRecord.of_this_process(SINCE, paused))
    assert supervisor_facts([str(tmp_path)]) == ({"running": True, "since": SINCE, "paused": paused or None}, "")


@pytest.mark.parametrize("text", [b"?", b"{}", b'{"pid":1,"check":"00000000"}', b"[" * 400])
def test_a_damaged_record_leaves_the_state_of_the_supervisor_unknown(tmp_path: Path, text: bytes) -> None:
    (tmp_path / SUPERVISOR_LOCK).write_bytes(text)
    facts, warning = supervisor_facts([str(tmp_path)])
    assert facts == UNKNOWN
    assert warning == f"Cannot tell whether the supervisor runs: {tmp_path / SUPERVISOR_LOCK} cannot be read: Not a record of a supervisor"


def test_the_record_of_an_earlier_version_counts(fake: FakeNode) -> None:
    """It is in the state directory."""
    node, ended = fake.node.settings, replace(SupervisorRecord.of_this_process(SINCE, "wings"), pid_start=1)
    for directory, record in ((node.lock_directory, ended), (node.state_directory, SupervisorRecord.of_this_process(SINCE))):
        os.makedirs(directory, exist_ok=True)
        with opened(Path(directory)) as descriptor:
            write_record(descriptor, record)
    expected = {"running": True, "since": SINCE, "paused": None}
    assert supervisor_facts(node.record_directories) == (expected, "")
    refused = f"Cannot supervise: process {os.getpid()}, since {SINCE}, already does so; stop it"
    with pytest.raises(LockUnavailable, match=refused), own_lock(node, SUPERVISOR_LOCK, "supervise", "; stop it"):
        pass


@pytest.mark.usefixtures("strict_umask")
def test_a_service_has_its_lock_and_record_on_a_disk_that_turns_read_only(tmp_path: Path) -> None:
    with small_disk(tmp_path / "state") as state:
        system = {"state_directory": str(state), "lock_directory": str(tmp_path / "locks"), "group": NO_GROUP}
        node = parse_settings({"system": system}, where="config.yml")
        with own_lock(node, SUPERVISOR_LOCK, "supervise", "") as lock:
            subprocess.run(["mount", "-o", "remount,ro", str(state)], check=True)
            assert lock.record("journal")
            facts, warning = supervisor_facts(node.record_directories)
            assert (facts["running"], facts["paused"], warning) == (True, "journal", "")
            # Other users could hold the lock of a file that they can open.
            assert mode_of(tmp_path / "locks" / SUPERVISOR_LOCK) == 0o660
        with pytest.raises(LockUnavailable, match=f"^Cannot supervise: the disk of {state} is read-only; see system.state_directory$"):
            own_lock(node, SUPERVISOR_LOCK, "supervise", "").__enter__()


def test_readers_never_see_a_partial_record(tmp_path: Path) -> None:
    over = threading.Event()
    with opened(tmp_path) as descriptor:
        records = [SupervisorRecord.of_this_process(SINCE, paused) for paused in ("", "maintenance_unreadable")]
        write_record(descriptor, records[0])

        def write() -> None:
            while not over.is_set():
                for record in records:
                    write_record(descriptor, record)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _look in range(500):
                assert read_record([str(tmp_path)]) in records
        finally:
            over.set()
            writer.join()
