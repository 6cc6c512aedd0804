# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job's files on the node: private, without secrets, and removed soon."""

from __future__ import annotations

import pytest

from .jobs import Watch, await_hold
from .lab import Node, adhoc_begun, bring_up, inventory, server, uuid_of, wait_until
from .people import BY_SUDO_WITHOUT_PASSWORD, person

JOBS = "/run/fleet-power-jobs"
SECRET = "hunter2-and-some"


def jobs_of(node: Node) -> set[str]:
    return set(node.ssh(f"find {JOBS} -mindepth 1 -maxdepth 1 -type d 2>/dev/null || true").split())


def unpacked(node: Node) -> set[str]:
    """Return Ansible's files of running modules on a node."""
    return set(node.ssh("ls -d /root/.ansible/tmp/* /tmp/ansible* 2>/dev/null || true").split())


def be_ten_minutes_later(node: Node) -> None:
    # The cleanup marks ended jobs in this way.
    node.ssh(f"find {JOBS} -name rc -exec chmod 400 {{}} +")
    sleeping = node.ssh("pgrep -f '^sleep [0-9]+$'").split()
    node.ssh(f"kill {' '.join(sleeping)}")


@pytest.mark.long
def test_files_of_a_job_are_private_and_disappear_soon_after_its_end(node: Node) -> None:
    slow = server("slow", STOP_SECONDS=4)
    bring_up({node: [slow]})
    before = unpacked(node)
    with person(node, sudo=BY_SUDO_WITHOUT_PASSWORD) as how:
        where = inventory([node], **how, ansible_become=True)
        watch = Watch(adhoc_begun(where, "server_power", {"action": "stop", "server": "all"}))
        watch.await_text("slow stopping")
        # With any umask.
        assert set(node.ssh(f"find {JOBS} -printf '%y %m %u\n'").splitlines()) == {"d 700 root", "f 600 root"}
        assert watch.finish().rc == 0
    assert unpacked(node) == before
    be_ten_minutes_later(node)
    wait_until(lambda: jobs_of(node) == set(), "the job's files are gone")


@pytest.mark.long
def test_lines_and_files_of_a_job_contain_no_secret(node: Node) -> None:
    slow = server("slow", STOP_SECONDS=4, RCON_PASSWORD=SECRET)
    slow["settings"]["container"]["image"] = "~fleet-power/testserver:latest"
    bring_up({node: [slow]})
    options = {"action": "restart", "server": [uuid_of(slow)], "definitions": [slow], "reason": "patch"}
    watch = Watch(adhoc_begun([node], "server_power", options, "-vvvv"))
    await_hold(node, slow)
    watch.await_text("stopping")
    found = node.ssh(f"grep -rl -e {SECRET} {JOBS} /root/.ansible /tmp /var/tmp /run/log /var/log 2>/dev/null || true")
    ran = watch.finish()
    assert found == ""
    assert ran.rc == 0, ran.output
    assert SECRET not in ran.output
    assert not any(SECRET in each.text for each in watch.said)


@pytest.mark.long
def test_a_server_name_cannot_forge_a_progress_line(node: Node) -> None:
    hostile = server("evil\x1b[2J\n12:00:00 node-9 forged done\r" + "x" * 300, STOP_SECONDS=5)
    bring_up({node: [hostile]})
    watch = Watch(adhoc_begun([node], "server_power", {"action": "restart", "server": [uuid_of(hostile)]}))
    ran = watch.finish()
    assert ran.rc == 0, ran.output
    assert "\x1b" not in ran.output
    lines = [line for line in ran.stdout.splitlines() if "evil" in line and "stopping" in line]
    assert lines and all(len(line) < 200 for line in lines)
    assert all(host == node.name for host in (each.host for each in watch.said))
