# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a proof needs next, and the proofs in the journal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.host.root_files import read_private, remove_private, write_private
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal_sqlite import path_in
from ansible_collections.fleet.power.plugins.module_utils._power.journal.schema import JournalUnusable
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SYSTEM_CLOCK
from ansible_collections.fleet.power.plugins.module_utils._power.model.proof import (
    Proof,
    ProofEnd,
    ProofFacts,
    ProofStep,
    decide,
    intent_text,
    is_held_back,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import EndedRun, Verdict

UUID = "11111111-2222-3333-4444-555555555555"
OLD, OLDER, NEW, NEWER, BACK = Run("old", "t1"), Run("old", "t1.5"), Run("new", "t2"), Run("new", "t3"), Run("back", "t4")
#: Before the start of the new version, and after it.
BEGUN = Proof(
    UUID, "lobby", "mine", "now", intent="before t0", present="old", present_started_at="t1", previous="old", wait_timeout=10, settle=5
)
TRIED = BEGUN.on_trial(NEW, "boot", 100.0)
FIRST = Run("first", "t1")
SECOND = replace(BEGUN, present="first", ran=True)
FAILED = replace(TRIED, failed="why")
FORBIDDEN = replace(FAILED, forbids="rule 1")
#: Facts of a new version that is up and not ready.
UP = ProofFacts("boot", 101.0, intent="mine t2", run=NEW, live=True)
ENDED = replace(UP, live=False)
#: The previous version has the server's name.
WITH_OLD = replace(UP, run=OLD)
ONLY_OLD = replace(WITH_OLD, live=False, present_verdict=Verdict.RESTARTING)


def after(verdict: Verdict | None, **facts: object) -> ProofFacts:
    return replace(ENDED, verdict=verdict, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("proof", "facts", "step"),
    [
        # The new version is up.
        (TRIED, UP, ProofStep.WAIT),
        (TRIED, replace(UP, now=110.0), ProofStep.FAIL),
        (TRIED, replace(UP, now=110.0, ready=True), ProofStep.SETTLE),
        (replace(TRIED, settled_by=106.0), replace(UP, now=105.9), ProofStep.WAIT),
        (replace(TRIED, settled_by=106.0), replace(UP, now=106.0), ProofStep.PROVED),
        (BEGUN, UP, ProofStep.NOTE),
        (TRIED, replace(UP, boot="another"), ProofStep.NOTE),
        # The new version has ended.
        (TRIED, after(Verdict.CRASHED), ProofStep.FAIL),
        (TRIED, after(Verdict.ENDED), ProofStep.FAIL),
        (TRIED, after(None), ProofStep.WAIT),
        (TRIED, after(Verdict.PENDING), ProofStep.WAIT),
        (TRIED, after(Verdict.ENGINE_STOPPED, due=True), ProofStep.WAIT),
        (TRIED, after(Verdict.ENGINE_STOPPED), ProofStep.VOID),
        (TRIED, after(Verdict.ENGINE_STOPPED, due=True, tries=3), ProofStep.FAIL),
        (TRIED, after(Verdict.ENDED_UNOBSERVED), ProofStep.UNKNOWN),
        (TRIED, after(Verdict.STOPPED), ProofStep.VOID),
        (TRIED, after(Verdict.STOPPED_EXTERNALLY), ProofStep.VOID),
        (TRIED, after(Verdict.RESTARTING), ProofStep.VOID),
        (TRIED, after(Verdict.HUNG), ProofStep.VOID),
        (BEGUN, ENDED, ProofStep.NOTE),
        # The supervisor began to take it down, and died.
        (FAILED, after(Verdict.RESTARTING), ProofStep.FAIL),
        (FAILED, after(Verdict.ENGINE_STOPPED, due=True), ProofStep.FAIL),
        (FAILED, after(Verdict.STOPPED), ProofStep.VOID),
        (FORBIDDEN, after(Verdict.STOPPED), ProofStep.FAIL),
        (FORBIDDEN, after(Verdict.STOPPED, intent=" t9", should_be_up=False, by_revert=True), ProofStep.LEFT_DOWN),
        (replace(FORBIDDEN, intent=" t9"), replace(UP, now=110.0, intent=" t9", should_be_up=False, by_revert=True), ProofStep.FAIL),
        (FAILED, after(Verdict.RESTARTING, run=None), ProofStep.FAIL),
        (FAILED, after(Verdict.ENGINE_STOPPED, run=None), ProofStep.FAIL),
        # Another run of it follows: only the supervisor starts it after a stop of the engine.
        (TRIED, replace(UP, run=NEWER, verdict=Verdict.ENGINE_STOPPED), ProofStep.NOTE),
        (TRIED, replace(UP, run=NEWER, verdict=Verdict.CRASHED), ProofStep.VOID),
        (TRIED, replace(UP, run=NEWER), ProofStep.VOID),
        # The previous version has the server's name.
        (BEGUN, WITH_OLD, ProofStep.VOID),
        (BEGUN, replace(WITH_OLD, run=OLDER), ProofStep.VOID),
        (BEGUN, replace(ONLY_OLD, run=OLDER), ProofStep.VOID),
        (TRIED, WITH_OLD, ProofStep.VOID),
        (BEGUN, ONLY_OLD, ProofStep.FAIL),
        (BEGUN, replace(ONLY_OLD, present_verdict=Verdict.ENGINE_STOPPED), ProofStep.FAIL),
        (BEGUN, replace(ONLY_OLD, present_verdict=None), ProofStep.WAIT),
        (BEGUN, replace(ONLY_OLD, present_verdict=Verdict.STOPPED_EXTERNALLY), ProofStep.VOID),
        (replace(BEGUN, was_up=False), replace(ONLY_OLD, present_verdict=Verdict.STOPPED), ProofStep.FAIL),
        # A second update during the proof of a first one: the version on trial was up, and goes back to the one before it.
        (SECOND, replace(UP, run=FIRST), ProofStep.VOID),
        (SECOND, replace(ONLY_OLD, run=FIRST), ProofStep.FAIL),
        (SECOND, UP, ProofStep.NOTE),
        # Nothing has the name, or it never ran.
        (BEGUN, replace(ONLY_OLD, run=None), ProofStep.FAIL),
        (BEGUN, replace(ENDED, run=None), ProofStep.WAIT),
        (BEGUN, replace(ONLY_OLD, run=None, present_verdict=Verdict.STOPPED_EXTERNALLY), ProofStep.VOID),
        (BEGUN, replace(ONLY_OLD, run=None, intent="before t0", should_be_up=False), ProofStep.VOID),
        (replace(BEGUN, tried=True), replace(ONLY_OLD, run=None, intent="before t0", should_be_up=False), ProofStep.FAIL),
        (TRIED, after(Verdict.CRASHED, run=None), ProofStep.FAIL),
        (TRIED, after(Verdict.RESTARTING, run=None), ProofStep.VOID),
        (TRIED, after(Verdict.STOPPED_EXTERNALLY, run=None), ProofStep.VOID),
        (TRIED, after(None, run=None), ProofStep.WAIT),
        # Another action wrote the intent. It found the new version up, or not.
        (TRIED, replace(UP, intent="another t3"), ProofStep.WAIT),
        (TRIED, after(Verdict.CRASHED, intent="another t3"), ProofStep.FAIL),
        (TRIED, replace(UP, intent="another t3", should_be_up=False), ProofStep.VOID),
        (BEGUN, replace(UP, intent="another t3"), ProofStep.VOID),
        (TRIED, replace(UP, intent="before t4", run=NEWER, verdict=Verdict.ENGINE_STOPPED), ProofStep.VOID),
        (
            replace(TRIED, intent=intent_text("", "t0")),
            replace(UP, intent=intent_text("", "t9"), should_be_up=False),
            ProofStep.VOID,
        ),
        (TRIED, replace(UP, killed=True), ProofStep.VOID),
        # The supervisor went back.
        (replace(FAILED, back="back"), replace(UP, run=BACK), ProofStep.REVERTED),
        (replace(FAILED, back="back"), replace(ENDED, run=BACK, killed=True, intent="another t3"), ProofStep.REVERTED),
    ],
)
def test_each_state_has_one_next_step(proof: Proof, facts: ProofFacts, step: ProofStep) -> None:
    assert decide(proof, facts)[0] is step
    assert decide(proof, replace(facts, held=True))[0] is ProofStep.WAIT


def test_a_version_that_never_ran_has_converted_no_data() -> None:
    assert FORBIDDEN.must_stay_down and not TRIED.must_stay_down
    assert not replace(BEGUN, forbids="rule 1", tried=True).must_stay_down
    assert replace(SECOND, forbids="rule 1").must_stay_down


@pytest.mark.parametrize(
    ("proof", "run", "verdict", "held"),
    [
        (TRIED, NEW, Verdict.CRASHED, True),
        (TRIED, NEW, Verdict.ENGINE_STOPPED, False),
        (FAILED, NEW, Verdict.ENGINE_STOPPED, True),
        (TRIED, OLD, Verdict.RESTARTING, True),
        (TRIED, OLD, Verdict.ENGINE_STOPPED, True),
    ],
)
def test_a_due_start_waits_for_the_proof_unless_the_engine_stopped_the_new_version(
    proof: Proof, run: Run, verdict: Verdict, held: bool
) -> None:
    row = EndedRun(Server(UUID), run, verdict)
    assert is_held_back(proof, row) is held
    assert not is_held_back(replace(proof, ended=ProofEnd.VOID), row)
    assert not is_held_back(None, row)


@pytest.fixture(name="journal")
def open_journal(tmp_path: Path) -> Journal:
    return Journal(str(tmp_path / "state"), str(tmp_path), "nobody", SYSTEM_CLOCK)


def test_a_proof_is_read_as_it_was_written(journal: Journal) -> None:
    assert (journal.proofs.open(), journal.proofs.of(UUID), journal.proofs.of_each([UUID])) == ([], None, {})
    journal.proofs.begin(BEGUN)
    assert journal.proofs.open() == [BEGUN]
    tried = replace(TRIED, settled_by=106.0, back="back")
    assert journal.proofs.note(tried)
    assert journal.proofs.of(UUID) == tried
    ended = replace(tried, ended=ProofEnd.REVERTED, msg="it failed", log=("a", "b"), restored=("x",), not_restored=("y",))
    journal.proofs.close(ended)
    assert (journal.proofs.of(UUID), journal.proofs.open()) == (ended, [])
    assert journal.proofs.of_each([UUID]) == {UUID: ended}


def test_an_ended_or_replaced_proof_does_not_change(journal: Journal) -> None:
    journal.proofs.begin(BEGUN)
    newer = replace(BEGUN, operation="newer")
    journal.proofs.begin(newer)
    journal.proofs.note(TRIED)
    journal.proofs.close(replace(TRIED, ended=ProofEnd.REVERTED))
    assert journal.proofs.open() == [newer]
    ended = replace(newer, ended=ProofEnd.PROVED)
    journal.proofs.close(ended)
    journal.proofs.close(replace(newer, ended=ProofEnd.VOID))
    assert journal.proofs.of(UUID) == ended


@pytest.mark.parametrize(("end", "due"), [(ProofEnd.REVERTED, []), (ProofEnd.LEFT_DOWN, []), (ProofEnd.VOID, [NEW])])
def test_the_end_of_a_failed_version_cancels_the_due_start_after_it_alone(journal: Journal, end: ProofEnd, due: list[Run]) -> None:
    journal.proofs.begin(TRIED)
    for run in (BACK, NEW):
        assert journal.ended_runs.write(EndedRun(Server(UUID), run, Verdict.CRASHED, due=True))
    journal.proofs.close(replace(TRIED, ended=end))
    assert [row.run for row in journal.ended_runs.due()] == [BACK, *due]


def test_an_action_that_tried_nothing_does_not_erase_the_last_proof(journal: Journal) -> None:
    earlier = replace(TRIED, ended=ProofEnd.REVERTED, back="back")
    journal.proofs.begin(replace(earlier, ended=ProofEnd.OPEN))
    journal.proofs.close(earlier)
    newer = replace(BEGUN, operation="newer")
    # A definition that changed during the stop writes the row again.
    journal.proofs.begin(newer)
    journal.proofs.begin(replace(newer, fingerprint="changed"))
    journal.proofs.close(replace(newer, ended=ProofEnd.VOID))
    assert journal.proofs.of(UUID) == earlier
    journal.proofs.begin(replace(newer, tried=True))
    journal.proofs.close(replace(newer, tried=True, ended=ProofEnd.VOID))
    found = journal.proofs.of(UUID)
    assert found is not None and found.operation == "newer"


def test_a_proof_that_was_open_when_another_replaced_it_does_not_come_back(journal: Journal) -> None:
    journal.proofs.begin(TRIED)
    void = replace(BEGUN, operation="newer", ended=ProofEnd.VOID)
    journal.proofs.begin(replace(void, ended=ProofEnd.OPEN))
    journal.proofs.close(void)
    assert (journal.proofs.of(UUID), journal.proofs.open()) == (void, [])


@pytest.mark.parametrize("text", ["{", "[" * 200_000, '{"uuid": "other", "operation": "other"}', "[]", None])
def test_a_damaged_row_is_no_open_proof(journal: Journal, text: str | None) -> None:
    journal.proofs.begin(BEGUN)
    # Without a text, its end is unknown.
    column, value = ("ended", "of a later version") if text is None else ("proof", text)
    journal.store.execute(f"UPDATE proving SET {column} = :value", {"value": value})
    found = journal.proofs.of(UUID)
    assert found is not None and (found.uuid, found.operation, found.ended) == (UUID, "mine", ProofEnd.FAILED)
    assert journal.proofs.open() == []


def test_a_row_of_no_server_is_not_looked_at(journal: Journal) -> None:
    journal.proofs.begin(replace(BEGUN, uuid="../etc"))
    assert journal.proofs.open() == []


def test_an_unreadable_journal_is_no_missing_proof(tmp_path: Path) -> None:
    Path(path_in(str(tmp_path / "state"))).mkdir(parents=True)
    journal = Journal(str(tmp_path / "state"), str(tmp_path), "nobody", SYSTEM_CLOCK, read_only=True)
    with pytest.raises((JournalUnusable, OSError)):
        journal.proofs.of(UUID)
    with pytest.raises((JournalUnusable, OSError)):
        journal.proofs.open()
    assert journal.proofs.of_each([UUID]) is None


class TestPrivateFiles:
    def test_only_the_owner_reads_them(self, tmp_path: Path) -> None:
        place = tmp_path / "previous"
        assert read_private(str(place), "a") is None
        write_private(str(place), "a", b"secret")
        assert read_private(str(place), "a") == b"secret"
        assert (place.stat().st_mode & 0o777, (place / "a").stat().st_mode & 0o777) == (0o700, 0o600)
        remove_private(str(place), "a")
        remove_private(str(place), "a")
        assert read_private(str(place), "a") is None

    @pytest.mark.parametrize("mode", [0o770, 0o755])
    def test_a_directory_that_is_open_to_others_is_refused(self, tmp_path: Path, mode: int) -> None:
        place = tmp_path / "previous"
        place.mkdir()
        place.chmod(mode)
        (place / "a").write_bytes(b"planted")
        with pytest.raises(OSError, match="does not belong"):
            write_private(str(place), "a", b"secret")
        with pytest.raises(OSError, match="does not belong"):
            read_private(str(place), "a")
        assert (place / "a").read_bytes() == b"planted"

    def test_a_link_to_a_directory_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        (tmp_path / "previous").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OSError, match=r"Not a directory|symbolic"):
            write_private(str(tmp_path / "previous"), "a", b"secret")
