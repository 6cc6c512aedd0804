# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The conditions of ``on_failed_start: revert`` before the stop, and updates after a version that failed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.server_facts import FactOptions, describe_each
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.context import ActionContext
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.progress import Ending
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn import proving
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.supervision import definition_fingerprint
from ansible_collections.fleet.power.plugins.module_utils._power.host.supervisor_record import SupervisorRecord
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import (
    PowerError,
    Reverted,
    StartFailed,
    StartTimeout,
    Superseded,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.proof import Proof, ProofEnd
from ansible_collections.fleet.power.plugins.module_utils._power.model.records import replace
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import OnFailedStart
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode

PRESENT = SupervisorRecord.of_this_process("2026-01-31T00:00:00.000Z")
REVERT = {"on_failed_start": OnFailedStart.REVERT}


def with_supervisor(monkeypatch: pytest.MonkeyPatch, record: SupervisorRecord | None = PRESENT, *, uid: int = 0) -> None:
    monkeypatch.setattr(proving, "read_record", lambda _directory: record)
    # Not in the whole process: other code asks, too.
    monkeypatch.setattr(proving, "os", SimpleNamespace(geteuid=lambda: uid))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"uid": 1000}, "act as root (become: true)"),
        ({"record": None}, "start fleet-power-supervisor"),
        ({"record": replace(PRESENT, reverts=False)}, "restart fleet-power-supervisor"),
    ],
    ids=["no root", "no supervisor", "an earlier supervisor"],
)
def test_an_impossible_revert_is_refused_before_the_stop_and_a_default_only_warns(
    fake: FakeNode, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], why: str
) -> None:
    run = fake.up().run
    with_supervisor(monkeypatch, **change)
    refused = fake.perform("restart", **REVERT)
    assert (refused.outcome, refused.code) == (Outcome.REFUSED, "revert_unavailable") and refused.msg.endswith(why)
    assert fake.seen().run == run
    fake.configure(revert={"on_failed_start": "revert"})
    warned = fake.perform("restart")
    assert warned.outcome is Outcome.DONE and any("a failed start is left" in each and each.endswith(why) for each in warned.warnings)


def test_without_a_previous_version_a_failed_start_is_left_with_a_warning(fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    with_supervisor(monkeypatch)
    first = fake.perform("start", **REVERT)
    assert first.outcome is Outcome.DONE and first.proof is None
    same = fake.perform("restart", **REVERT)
    assert same.outcome is Outcome.DONE and same.proof is None
    found = [[each for each in result.warnings if "a failed start is left" in each] for result in (first, same)]
    reason = f"server {UUID}: a failed start is left, because there is no previous version"
    assert found == [[f"{reason}: it has no container"], [f"{reason}: its container stays the same"]]


@pytest.mark.parametrize("action", ["start", "restart"])
def test_check_mode_refuses_too(fake: FakeNode, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    if action == "restart":
        fake.up()
    with_supervisor(monkeypatch, None)
    assert fake.perform(action, check=True, **REVERT).code == "revert_unavailable"


@pytest.mark.parametrize(("end", "expected"), [(ProofEnd.FAILED, StartFailed), (ProofEnd.VOID, Superseded), (ProofEnd.REVERTED, Reverted)])
def test_a_version_that_was_not_ready_in_time_is_not_said_to_be_left_up(fake: FakeNode, end: ProofEnd, expected: type[PowerError]) -> None:
    progress, proofs = fake.progress("restart"), fake.node.journal.proofs

    def end_proof(_context: ActionContext) -> Ending:
        progress.proof = Proof(UUID, "Cobalt", "mine", "now")
        proofs.begin(progress.proof)
        proofs.close(replace(progress.proof, ended=end, failed="it was not ready", msg="so it ended"))
        raise StartTimeout("Cannot tell that it is running; it is left up")

    with pytest.raises(expected, match="so it ended"):
        proving.prove(fake.context(progress), end_proof)
    assert not progress.warnings


def given_up(fake: FakeNode, end: ProofEnd) -> None:
    """Make the server outdated, and write that its present definition with its image failed."""
    fake.up()
    fake.define(environment={"VERSION": "2"})
    definition, image = fake.node.sources.definition(UUID), fake.node.engine.images.find("game:1")
    assert image is not None
    proof = Proof(UUID, "Cobalt", "earlier", "now", fingerprint=definition_fingerprint(definition), image=image.id, tried=True)
    fake.node.journal.proofs.begin(proof)
    fake.node.journal.proofs.close(replace(proof, ended=end))


def failed(fake: FakeNode) -> object:
    """Return what the server's facts say."""
    node = fake.build()
    return describe_each([Server(UUID, "Cobalt")], node, FactOptions(), remember=lambda _uuid, _run: None).entries[0]["outdated"]["failed"]


@pytest.mark.parametrize("end", [ProofEnd.REVERTED, ProofEnd.LEFT_DOWN])
def test_an_update_of_outdated_servers_skips_a_version_that_failed_until_it_changes(fake: FakeNode, end: ProofEnd) -> None:
    given_up(fake, end)
    assert failed(fake) is True
    skipped = fake.perform("restart", outdated=True)
    assert (skipped.outcome, skipped.code) == (Outcome.SKIPPED, "not_selected") and "pass retry_reverted: true" in skipped.msg
    fake.define(environment={"VERSION": "3"})
    assert failed(fake) is False
    assert fake.perform("restart", outdated=True).outcome is Outcome.DONE


@pytest.mark.parametrize("fields", [{"outdated": True, "retry_reverted": True}, {}])
def test_a_version_that_failed_is_tried_again_on_request(fake: FakeNode, fields: dict[str, Any]) -> None:
    given_up(fake, ProofEnd.REVERTED)
    assert fake.perform("restart", **fields).outcome is Outcome.DONE


@pytest.mark.parametrize("end", [ProofEnd.PROVED, ProofEnd.VOID, ProofEnd.FAILED])
def test_only_a_failed_version_is_skipped(fake: FakeNode, end: ProofEnd) -> None:
    given_up(fake, end)
    assert failed(fake) is False
    assert fake.perform("restart", outdated=True).outcome is Outcome.DONE
