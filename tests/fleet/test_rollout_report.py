# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run on real nodes: it shows what goes on while it goes on, and in the end the downtime that there was."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from .lab import Lease, bring_up, phase_of, playbook_begun, server, uuid_of, wait_until
from .rollout import result_of


@pytest.mark.long
def test_a_report_is_renewed_while_servers_stop_and_tells_their_downtime_at_the_end(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    slow, hostile, later = server("slow", STOP_SECONDS=20), server("<b>bold</b>"), server("later", BOOT_SECONDS=3)
    bring_up({first: [slow, hostile], second: [later]})
    page = tmp_path / "reports" / "run.html"
    began = {uuid_of(each): node.started_at(uuid_of(each)) for node, each in ((first, slow), (first, hostile), (second, later))}
    going = playbook_begun("rolling_restart", [first, second], rollout_report=str(page), rollout_reason="update")
    wait_until(lambda: phase_of(first, slow) == "stop", "slow is being stopped", 60)
    text = page.read_text()
    assert "Goes on" in text and "update" in text and page.stat().st_mode & 0o777 == 0o600
    # Nobody is at the controller but whoever follows the task, and the other server of its node has ended already.
    wait_until(lambda: page.read_text().count("under way,") == 2 and 'class="k-stop"' in page.read_text(), "it shows them at work", 30)
    assert phase_of(first, slow) == "stop"
    ran = going.finish()
    assert ran.rc == 0, ran.output
    text = page.read_text()
    assert "Ended well" in text and 'http-equiv="refresh"' not in text and f"The report is {page}" in ran.output
    assert "&lt;b&gt;bold&lt;/b&gt;" in text and "<b>bold" not in text
    result = result_of(tmp_path)
    assert result["by"].endswith("(play Restart servers node by node)") and result["downtime"]["servers"] == 3
    assert [each["batch"] for each in result["batches"]["times"]] == [1, 2]
    for each in result["servers"]:
        assert [phase["phase"] for phase in each["phases"]][-3:] == ["preboot", "start", "ready"]
        down = each["downtime"]
        assert 0 < down["seconds"] <= down["ready_seconds"] < 30
        assert f"down {down['seconds']:.1f} s, ready after {down['ready_seconds']:.1f} s" in text
        # Within its batch, by clocks that are one and the same here.
        batch = result["batches"]["times"][each["batch"] - 1]
        assert batch["began_at"] <= each["began_at"] <= down["from"] <= batch["ended_at"]
        assert datetime.fromisoformat(down["from"].replace("Z", "+00:00")).timestamp() > 0 and began[each["server"]] < down["from"]
