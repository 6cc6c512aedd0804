# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new version that fails is taken back: the previous version is up, and nothing else has changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.proof import Proof
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Result

from .lab import IMAGE, Lab, ended, lab_on, wait_until
from .own_engine import OwnEngine, own_engine
from .revert_rounds import RevertRounds
from .supervisors import Supervising, await_run_after, crash, run_of, state_directory
from .test_foreign import WINGS, WITH_VOLUME

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can go back")

REVERT = {"on_failed_start": "revert", "wait_timeout": 60, "settle": 3}
#: For versions that are never ready.
SOON = 3
#: Bad versions, by their new environment.
EXITS = {"CRASH_AFTER": 0.1, "EXIT_CODE": 3, "READY_LINE": "never"}
NEVER_READY = {"READY_LINE": "never"}
EXITS_LATER = {"CRASH_AFTER": 2, "EXIT_CODE": 4}


def restart(lab: Lab, uuid: str, **fields: Any) -> Result:
    return lab.power("restart", uuid, **{**REVERT, **fields})


def version(lab: Lab, uuid: str) -> str:
    """Return the variable in which the versions differ."""
    found = lab.container(uuid)
    assert found is not None
    return next(each.partition("=")[2] for each in found["Config"]["Env"] if each.startswith("VERSION="))


def proof_of(lab: Lab, uuid: str) -> Proof:
    found = lab.node().journal.proofs.of(uuid)
    assert found is not None
    return found


def containers(lab: Lab, uuid: str) -> list[str]:
    return sorted(str(each["Names"][0]) for each in lab.client.containers(all=True) if uuid in str(each["Names"]))


def anonymous_volumes(lab: Lab, uuid: str) -> list[str]:
    found = lab.container(uuid)
    assert found is not None
    return [str(each["Name"]) for each in found["Mounts"] if each["Type"] == "volume"]


@pytest.mark.samples("exits at once", "exits after it was ready")
@pytest.mark.parametrize(
    ("environment", "wait_timeout", "why"),
    [
        (EXITS, 60, "its process ended with exit code 3"),
        (NEVER_READY, SOON, f"it was not ready (running) {SOON} s after its start"),
        (EXITS_LATER, 60, "its process ended with exit code 4"),
    ],
    ids=["exits at once", "never ready", "exits after it was ready"],
)
def test_a_failed_version_is_taken_back(lab: Lab, environment: dict[str, object], wait_timeout: int, why: str) -> None:
    uuid = lab.up(VERSION=1)
    lab.edit(uuid, environment={"VERSION": 2, **environment})
    with Supervising(lab):
        result = restart(lab, uuid, wait_timeout=wait_timeout)
        assert ended(result) == ("failed", "reverted"), result
        assert why in result.msg and "the previous version is up again" in result.msg
        assert version(lab, uuid) == "1" and lab.is_up(uuid)
        assert containers(lab, uuid) == [f"/{uuid}"]
        # Rules by image still select it.
        found = lab.container(uuid)
        assert found is not None and found["Config"]["Labels"]["fleet.power.image"] == IMAGE[1:]
        assert result.proof is not None and "environment.VERSION" in result.proof.differs and result.proof.has_run
        assert result.log
        assert not lab.node().journal.ended_runs.due()
        operations = [(each.action, each.origin, each.outcome, each.code) for each in lab.operations(uuid)[:2]]
        assert operations == [("restart", "supervisor (revert)", "done", ""), ("restart", "test", "failed", "reverted")]
        intent = lab.node().journal.intents.of(uuid)
        assert intent is not None and intent.up and intent.operation == result.operation


def test_a_good_version_stays(lab: Lab) -> None:
    uuid = lab.up(VERSION=1)
    lab.edit(uuid, environment={"VERSION": 2})
    with Supervising(lab):
        result = restart(lab, uuid, settle=1)
        assert ended(result) == ("done", ""), result
        assert version(lab, uuid) == "2" and lab.is_up(uuid)
        assert containers(lab, uuid) == [f"/{uuid}"]
        assert proof_of(lab, uuid).ended.value == "proved"


def test_a_version_that_the_engine_refuses_is_taken_back(lab: Lab) -> None:
    uuid = lab.up(VERSION=1)
    lab.edit(uuid, container={"image": lab.image('ENTRYPOINT ["/nonexistent"]')})
    with Supervising(lab):
        result = restart(lab, uuid)
        assert ended(result) == ("failed", "reverted"), result
        assert version(lab, uuid) == "1" and lab.is_up(uuid)
        assert containers(lab, uuid) == [f"/{uuid}"]


def test_without_a_way_back_the_server_is_down(lab: Lab) -> None:
    uuid = lab.up(VERSION=1)
    lab.write_settings(revert={"rules": [{"server": uuid, "revertible": False}]})
    lab.edit(uuid, environment={"VERSION": 2, **NEVER_READY})
    with Supervising(lab):
        result = restart(lab, uuid, wait_timeout=SOON)
        assert ended(result) == ("failed", "left_down"), result
        assert "rule 1 of revert.rules says revertible: false" in result.msg
        assert not lab.is_up(uuid)
        assert containers(lab, uuid) == [f"/{uuid}"]
        intent = lab.node().journal.intents.of(uuid)
        assert intent is not None and not intent.up


def test_configuration_files_of_a_failed_boot_are_put_back(lab: Lab) -> None:
    uuid = lab.up(VERSION=1)
    own, changed = lab.volume(uuid) / "own.properties", lab.volume(uuid) / "changed.properties"
    own.write_text("# mine\nmotd=old\n")
    changed.write_text("motd=old\n")
    configs = [
        {"file": name, "parser": "properties", "replace": [{"match": "motd", "replace_with": "new"}]}
        for name in ("own.properties", "changed.properties", "fresh.properties")
    ]
    lab.edit(uuid, environment={"VERSION": 2, **NEVER_READY}, process={"configs": configs})
    with Supervising(lab), lab.actor("restart", uuid, on_failed_start="revert", wait_timeout=SOON, settle=1) as actor:
        wait_until(lambda: "new" in changed.read_text() and lab.is_up(uuid), "the files are edited", 30)
        changed.write_text("motd=of the game\n")
        result = actor.result()
    assert result["code"] == "reverted", result
    assert own.read_text() == "# mine\nmotd=old\n"
    assert changed.read_text() == "motd=of the game\n"
    proof = proof_of(lab, uuid)
    assert (proof.restored, set(proof.not_restored)) == (("own.properties",), {"changed.properties", "fresh.properties"})


@pytest.mark.long
def test_an_update_of_a_container_of_wings_leaves_no_volume(lab: Lab) -> None:
    uuid = lab.server(image=f"~{WITH_VOLUME}", VERSION=2, **EXITS)
    lab.outsider(uuid, Image=WITH_VOLUME, Labels=WINGS, OpenStdin=True, Env=["VERSION=1"])
    lab.await_ready(uuid)
    lab.volume(uuid).mkdir(parents=True)
    (before,) = anonymous_volumes(lab, uuid)
    with Supervising(lab):
        assert ended(restart(lab, uuid)) == ("failed", "reverted")
    assert version(lab, uuid) == "1" and lab.is_up(uuid)
    assert anonymous_volumes(lab, uuid) and before not in {each["Name"] for each in lab.client.volumes()["Volumes"]}


@pytest.mark.long
def test_the_result_says_why_nothing_started_after_the_stop(lab: Lab) -> None:
    uuid = lab.up(VERSION=1, STOP_SECONDS=3, MARK=1)
    (lab.volume(uuid) / "own.properties").write_text("motd=old\n")
    configs = [{"file": "own.properties", "parser": "properties", "replace": [{"match": "motd", "replace_with": "new"}]}]
    lab.edit(uuid, environment={"VERSION": 2}, process={"configs": configs})
    with Supervising(lab), lab.actor("restart", uuid, **REVERT) as actor:
        wait_until(lambda: "got " in lab.log(uuid), "the stop arrived")
        (state_directory(lab) / "previous").mkdir(mode=0o755)
        result = actor.result()
    assert result["code"] == "reverted" and "Cannot edit own.properties" in result["msg"], result
    assert version(lab, uuid) == "1" and lab.is_up(uuid)


@pytest.mark.long
def test_after_a_way_back_that_fails_the_supervisor_starts_the_new_version(lab: Lab) -> None:
    uuid = lab.up(VERSION=1)
    lab.edit(uuid, environment={"VERSION": 2, **EXITS_LATER})
    with Supervising(lab), lab.actor("restart", uuid, **{**REVERT, "settle": 30}) as actor:
        wait_until(lambda: containers(lab, uuid) == [f"/{uuid}", f"/{uuid}-previous"] and lab.is_up(uuid), "the new version is up")
        run = run_of(lab, uuid)
        lab.client.remove_container(f"{uuid}-previous")
        result = actor.result()
        assert result["code"] == "start_failed" and result["msg"].endswith("perhaps by docker container prune"), result
        assert not result["warnings"]
        await_run_after(lab, uuid, run)
        assert version(lab, uuid) == "2"
        assert [each.origin for each in lab.operations(uuid)].count("supervisor (revert)") == 1


@pytest.mark.long
def test_a_second_restart_with_revert_keeps_the_previous_version(lab: Lab) -> None:
    uuid = lab.up(VERSION=1)
    lab.edit(uuid, environment={"VERSION": 2, **EXITS_LATER})
    with Supervising(lab), lab.actor("restart", uuid, **{**REVERT, "settle": 30}) as actor:
        wait_until(lambda: version(lab, uuid) == "2" and lab.is_up(uuid), "the new version is up")
        assert ended(restart(lab, uuid, settle=30)) == ("failed", "reverted")
        assert actor.result()["code"] == "superseded"
    assert version(lab, uuid) == "1" and lab.is_up(uuid)
    assert containers(lab, uuid) == [f"/{uuid}"]


@pytest.mark.long
def test_the_previous_version_owns_files_that_came_during_the_proof(lab: Lab) -> None:
    uuid = lab.up(VERSION=1)
    lab.edit(uuid, environment={"VERSION": 2, **NEVER_READY})
    restored = lab.volume(uuid) / "world.dat"
    with Supervising(lab), lab.actor("restart", uuid, **{**REVERT, "wait_timeout": SOON}) as actor:
        wait_until(lambda: version(lab, uuid) == "2" and lab.is_up(uuid), "the new version is up")
        restored.write_text("restored by root")
        assert actor.result()["code"] == "reverted"
    assert (restored.stat().st_uid, restored.read_text()) == (lab.node().settings.uid, "restored by root")


def test_the_failed_pair_is_not_tried_again_until_it_changes(lab: Lab) -> None:
    uuid = lab.up(VERSION=1)
    lab.edit(uuid, environment={"VERSION": 2, **EXITS})
    with Supervising(lab):
        assert ended(restart(lab, uuid)) == ("failed", "reverted")
        skipped = restart(lab, uuid, outdated=True)
        assert ended(skipped) == ("skipped", "not_selected") and "retry_reverted" in skipped.msg
        assert ended(restart(lab, uuid, outdated=True, retry_reverted=True)) == ("failed", "reverted")
        # The supervisor starts the previous version, too.
        run = crash(lab, uuid)
        await_run_after(lab, uuid, run, 30.0)
        assert version(lab, uuid) == "1"
        lab.edit(uuid, environment={"VERSION": 3})
        assert ended(restart(lab, uuid, outdated=True, settle=0)) == ("done", "")
        assert version(lab, uuid) == "3"


class TestRefused:
    def test_without_a_supervisor(self, lab: Lab) -> None:
        uuid = lab.up(VERSION=1)
        lab.edit(uuid, environment={"VERSION": 2})
        result = restart(lab, uuid)
        assert ended(result) == ("refused", "revert_unavailable") and "start fleet-power-supervisor" in result.msg
        assert lab.is_up(uuid)

    def test_a_default_without_a_supervisor_gives_a_warning(self, lab: Lab) -> None:
        uuid = lab.up(VERSION=1)
        lab.write_settings(revert={"on_failed_start": "revert"})
        lab.edit(uuid, environment={"VERSION": 2})
        result = restart(lab, uuid, on_failed_start=None)
        assert ended(result) == ("done", "") and "a failed start is left" in " ".join(result.warnings)


@pytest.fixture(name="own")
def start_engine(docker_host: str) -> Iterator[OwnEngine]:
    yield from own_engine(docker_host)


@pytest.mark.long
def test_a_thousand_bad_updates_end_with_the_previous_version_or_as_somebody_said(tmp_path: Path, own: OwnEngine) -> None:
    updates, seed = int(os.environ.get("FLEET_POWER_UPDATES", "1000")), int(os.environ.get("FLEET_POWER_SEED", time.time()))
    for lab in lab_on(tmp_path, own.host):
        with Supervising(lab) as supervising:
            rounds = RevertRounds(lab, own, supervising, 10, seed)
            for number in range(updates // 10):
                wrong = list(rounds.play())
                assert not wrong, f"round {number} of seed {seed}:\n" + "\n".join(wrong)
            print(f"{updates} bad updates, seed {seed}: {rounds.ends}")
