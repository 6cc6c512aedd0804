# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab itself: each fault works on one node only, and can be undone."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .lab import CHECKOUT, IMAGE, NODES, Lease, Node, adhoc, nodes_command, server, wait_until

IMAGE_NAME = IMAGE.lstrip("~")


def docker(node: Node, *arguments: str, check: bool = True) -> str:
    environment = {**os.environ, "DOCKER_HOST": node.docker_host}
    return subprocess.run(["docker", *arguments], env=environment, capture_output=True, text=True, check=check, timeout=30).stdout.strip()


def answers(node: Node) -> bool:
    """Tell whether the node's engine answers within two seconds."""
    try:
        return (
            subprocess.run(
                ["docker", "version"], env={**os.environ, "DOCKER_HOST": node.docker_host}, capture_output=True, timeout=2, check=False
            ).returncode
            == 0
        )
    except subprocess.TimeoutExpired:
        return False


@contextmanager
def nothing_changed(node: Node) -> Iterator[None]:
    before = node.ssh("cat /proc/sys/kernel/random/boot_id")
    yield
    assert answers(node)
    assert node.ssh("cat /proc/sys/kernel/random/boot_id") == before


def test_a_node_is_its_own_machine_and_enforces_the_memory_limit_of_a_container(lease: Lease) -> None:
    one, other = lease(2)
    for command in ("hostname", "cat /etc/machine-id", "cat /proc/sys/kernel/random/boot_id", "cat /etc/ssh/ssh_host_ed25519_key.pub"):
        assert one.ssh(command) != other.ssh(command)
    assert one.ssh("systemctl is-system-running").strip() == "running"
    assert one.ssh("hostname").strip() == one.name
    hungry = "x=0123456789abcdef; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do x=$x$x; done"

    def code(mebibytes: int) -> str:
        name, memory = f"hungry-{mebibytes}", f"{mebibytes}m"
        limits = ["--memory", memory, "--memory-swap", memory]
        docker(one, "run", "--name", name, *limits, "--entrypoint", "/bin/sh", IMAGE_NAME, "-c", hungry, check=False)
        return docker(one, "inspect", "--format", "{{.State.ExitCode}}", name)

    assert (code(20), code(256)) == ("137", "0"), "16 MiB of text exceed the small limit only"


@pytest.mark.long
def test_each_fault_affects_one_node_only_and_can_be_undone(lease: Lease) -> None:
    node, other = lease(2)
    with nothing_changed(other):
        node.faults.cut()
        assert adhoc([node], "ansible.builtin.ping")[node.name]["unreachable"]
        assert answers(node), "the tests reach the engine without the network"
        node.faults.join()
        assert adhoc([node], "ansible.builtin.ping")[node.name]["ping"] == "pong"

        node.faults.freeze()
        assert not answers(node)
        assert node.ssh("hostname").strip() == node.name, "only the engine is frozen"
        node.faults.thaw()
        assert answers(node)

        node.faults.stop_engine()
        assert [answers(node), answers(node)] == [False, False], "a request does not start the engine"
        node.faults.start_engine()
        assert answers(node)

        node.faults.halt()
        assert node.is_halted()
        node.faults.boot()
        assert answers(node)


@pytest.mark.long
def test_containers_files_and_a_small_disk_survive_a_power_off_and_a_reboot(node: Node) -> None:
    docker(node, "run", "--detach", "--name", "survivor", IMAGE_NAME)
    node.write("/etc/fleet-power/written", "yes")
    node.faults.disk(16, "/var/lib/fleet-power")
    is_mounted = "mountpoint --quiet /var/lib/fleet-power && echo yes"
    assert node.ssh(is_mounted) == "yes\n"
    assert "No space left" in node.ssh("dd if=/dev/zero of=/var/lib/fleet-power/full bs=1M 2>&1", check=False)
    # A container with this directory has the small disk, too.
    volume = "/var/lib/fleet-power:/home/container"
    listed = docker(node, "run", "--rm", "--volume", volume, "--entrypoint", "/bin/ls", IMAGE_NAME, "/home/container")
    assert "full" in listed.split()

    boot_id = node.ssh("cat /proc/sys/kernel/random/boot_id; sync")
    node.ssh("systemctl poweroff", check=False)
    wait_until(node.is_halted, "the node is down")
    assert not node.is_up("survivor")
    node.faults.boot()
    assert node.ssh("cat /proc/sys/kernel/random/boot_id") != boot_id
    assert docker(node, "inspect", "--format", "{{.State.Status}}", "survivor") == "exited"
    assert node.ssh(f"cat /etc/fleet-power/written; {is_mounted}") == "yesyes\n"

    result = adhoc([node], "ansible.builtin.reboot", {"reboot_timeout": 60, "post_reboot_delay": 0})[node.name]
    assert result["rebooted"], result
    wait_until(lambda: answers(node), "the engine is back")
    assert node.ssh(is_mounted) == "yes\n"


def test_a_reset_makes_a_node_as_good_as_new(lease: Lease) -> None:
    node = lease(1)[0]
    node.define(server("left-over"))
    docker(node, "run", "--detach", "--name", "left-over", IMAGE_NAME)
    node.faults.disk(16, "/var/lib/fleet-power")
    node.faults.freeze()
    node.faults.cut()
    nodes_command("reset", node.name)
    assert node.container("left-over") is None
    assert node.ssh("ls -d /etc/fleet-power /var/lib/fleet-power /run/fleet-power 2>/dev/null", check=False) == ""
    assert not node.ssh("mount | grep fleet-power", check=False)
    assert docker(node, "image", "inspect", "--format", "there", IMAGE_NAME) == "there"


class Checkout:
    """A second checkout with a lab that may end badly. It shares only the scripts."""

    def __init__(self, place: Path) -> None:
        self.place = place
        (place / ".build").mkdir(parents=True)
        shutil.copytree(NODES.parent, place / "tests" / "lab")
        (place / ".build" / "lab-base").symlink_to(CHECKOUT / ".build" / "lab-base")
        self.nodes = str(place / "tests" / "lab" / "nodes")

    @property
    def slot(self) -> str:
        path = self.place / ".build" / "lab" / "slot"
        return path.read_text().strip() if path.exists() else ""

    def left(self, slot: str) -> list[str]:
        processes = [
            str(path)
            for path in Path("/proc").glob("[0-9]*/cgroup")
            if f"/fleet-lab-{slot}/" in text_of(path) and alive(path.parent / "status")
        ]
        links = [str(path) for path in (*Path("/sys/class/net").glob(f"fleetlab{slot}"), *Path("/sys/class/net").glob(f"fl{slot}n*"))]
        # Control groups of other containers come and go.
        groups = [path for path, _below, _files in os.walk("/sys/fs/cgroup") if os.path.basename(path) == f"fleet-lab-{slot}"]
        mounts = [line for line in text_of(Path("/proc/self/mountinfo")).splitlines() if str(self.place) in line]
        loops = [str(path) for path in Path("/sys/block").glob("loop*/loop/backing_file") if str(self.place) in text_of(path)]
        kept = ("lab-base", "ansible_collections")
        files = [str(path) for path in (self.place / ".build").iterdir() if path.suffix != ".lock" and path.name not in kept]
        return [*processes, *links, *groups, *mounts, *loops, *files]


def text_of(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""


def alive(status: Path) -> bool:
    return re.search(r"^State:\s+[^ZX]", text_of(status), re.MULTILINE) is not None


@pytest.fixture
def checkout() -> Iterator[Checkout]:
    """A checkout of the test, in a directory where a lab can run."""
    found = Checkout(Path(tempfile.mkdtemp(prefix="lab-test-", dir=CHECKOUT / ".build")))
    try:
        yield found
    finally:
        subprocess.run([found.nodes, "down"], check=False, capture_output=True)
        shutil.rmtree(found.place, ignore_errors=True)
