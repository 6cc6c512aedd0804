# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that read what Ansible says: a job of ansible-runner has events while it runs; a document on standard output stays one."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from .followed import Watch, only_result, play, power, progress_in, told
from .lab import Lease, Node, bring_up, playbook_begun, server
from .ran import Ran

pytest.importorskip("ansible_runner")
from .test_runner import Job, prepared, ran

#: A callback whose standard output is for programs, as galaxy has several.
DOCUMENT = {"ANSIBLE_STDOUT_CALLBACK": "document"}


def with_play(job: Job, *tasks: dict[str, object]) -> Job:
    """Have a play of these tasks in a job's project."""
    (job.directory / "project" / "play.yml").write_text(play(*tasks).read_text())
    return job


@pytest.mark.long
def test_each_line_is_an_event_of_the_job_while_it_runs(node: Node, tmp_path: Path) -> None:
    servers = [server("quick"), server("slow", STOP_SECONDS=5), server("slower", STOP_SECONDS=8)]
    bring_up({node: servers})
    job = with_play(prepared(tmp_path / "job", [node]), power("restart", servers))
    runs = threading.Thread(target=ran, args=(job, "play.yml"))
    runs.start()
    # When the file of the event that tells it was there.
    seen: dict[str, float] = {}
    while runs.is_alive():
        for path in (job.artifacts / "job_events").glob("*-*.json"):
            if path.name not in seen:
                seen[path.name] = time.monotonic()
        time.sleep(0.1)
    ended_at = time.monotonic()
    assert job.rc == 0, job.stdout
    ended: dict[str, float] = {}
    for name, moment in seen.items():
        path = job.artifacts / "job_events" / name
        if path.exists():
            event = json.loads(path.read_text())
            texts = [text for _host, text in progress_in(event["stdout"].replace("\r\n", "\n"))]
            ended.update(dict.fromkeys(told(texts, "restart done"), moment))
    assert sorted(ended) == ["quick", "slow", "slower"]
    assert ended["slow"] - ended["quick"] > 1.5 and ended_at - ended["quick"] > 4
    assert len(progress_in(job.stdout.replace("\r\n", "\n"))) >= 3


def document_of(run: Ran) -> dict[str, object]:
    """Return the one document that standard output is."""
    found: dict[str, object] = json.loads(run.stdout)
    return found


@pytest.mark.long
def test_a_document_on_standard_output_stays_one_and_progress_is_on_standard_error(node: Node) -> None:
    servers = [server("quick"), server("slow", STOP_SECONDS=5)]
    bring_up({node: servers})
    watch = Watch(playbook_begun(play(power("restart", servers)), [node], surroundings=DOCUMENT))
    run = watch.finish()
    assert run.rc == 0, run.output
    assert document_of(run)["hosts"] == [node.name]
    assert told([text for _host, text in progress_in(run.stderr)], "restart done") == ["quick", "slow"]
    assert run.seconds - watch.ends("restart done")["quick"] > 1.5
    assert only_result(run)["summary"] == {"done": 2}


@pytest.mark.long
def test_a_document_of_a_rolling_run_stays_one(lease: Lease) -> None:
    first, second = lease(2)
    bring_up({first: [server("one", STOP_SECONDS=3)], second: [server("two", STOP_SECONDS=3)]})
    run = playbook_begun("rolling_restart", [first, second], surroundings=DOCUMENT).finish()
    assert run.rc == 0, run.output
    assert document_of(run)["hosts"]


@pytest.mark.long
def test_a_document_of_a_status_stays_one(node: Node) -> None:
    bring_up({node: [server("one")]})
    run = playbook_begun("status", [node], surroundings=DOCUMENT).finish()
    assert run.rc == 0, run.output
    assert document_of(run)["hosts"]
