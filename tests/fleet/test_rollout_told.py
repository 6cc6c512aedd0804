# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Receivers of a rolling run on real nodes: whatever becomes of its command, and whatever they do."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.fleet.power.tests.unit.told_support import SECRET, told

from .lab import Lease, bring_up, playbook, playbook_begun, server, wait_until
from .rollout import is_stopping, outcomes, result_of, resume_files


@pytest.mark.long
def test_after_a_kill_the_next_run_sends_what_was_left_first_in_order_and_once(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    slow, later = server("slow", STOP_SECONDS=8), server("later")
    bring_up({node: [slow, later]})
    address = tmp_path / "address"
    with told() as chat, told() as hanging, told() as redirecting, told() as elsewhere:
        hanging.hangs = 600
        redirecting.status, redirecting.answer_headers = 308, {"Location": elsewhere.url}
        chat.status = 503
        address.write_text(f"{chat.url}/planted-path")
        receivers = [
            {"name": "chat", "url": "{{ lookup('ansible.builtin.file', __address) }}", "secret": SECRET},
            {"name": "hanging", "url": hanging.url},
            {"name": "redirecting", "url": redirecting.url},
        ]
        asked = {"rollout_receivers": receivers, "__address": str(address), "rollout_batch_size": 1, "rollout_priorities": {"slow": 1}}
        shown = {"ANSIBLE_DISPLAY_ARGS_TO_STDOUT": "true"}
        going = playbook_begun("rolling_restart", [node], "-vvv", surroundings=shown, **asked)
        wait_until(lambda: is_stopping(node, slow), "it is being stopped", 90)
        going.kill()
        said = going.stdout + going.stderr
        assert set(chat.types) == {"rollout.begun"}
        first = chat.events[0][1]
        chat.status = 200
        chat.sent.clear()

        (resume,) = resume_files(tmp_path)
        ran = playbook("rolling_restart", [node], "-vvv", rollout_resume=str(resume), **asked)
        assert ran.rc == 0, ran.output
        second = result_of(tmp_path)["run"]
        assert chat.events == [
            (f"rollout.{word}", run) for run, words in ((first, ("begun", "stopped")), (second, ("begun", "ended"))) for word in words
        ]
        assert len({each.value["id"] for each in chat.sent}) == 4
        assert chat.sent[1].value["data"]["stopped"] == "its command ended before it did"
        assert chat.sent[2].value["data"]["resumes"] == first
        assert elsewhere.sent == []
    assert outcomes(result_of(tmp_path)) == {"slow": "done", "later": "done"}
    # Each of the others is complained of once in a run.
    for name in ("hanging", "redirecting"):
        assert [ran.output.count(f"Cannot tell receiver {name} of run {run}: ") for run in (first, second)] == [0, 1], ran.output
    said += ran.output + "".join(path.read_text() for path in (tmp_path / ".ansible").rglob("*.json"))
    assert "planted-path" not in said and SECRET not in said
