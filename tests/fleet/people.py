# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user of a node besides root, with rights in sudo. The test's end removes it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from .nodes import Node

PERSON, PASSWORD = "ops", "not for sudo's log"
BY_SUDO_WITHOUT_PASSWORD = f"{PERSON} ALL=(ALL:ALL) NOPASSWD: ALL"


@contextmanager
def person(node: Node, *, sudo: str = "", groups: Sequence[str] = ()) -> Iterator[dict[str, object]]:
    """Let ``ops`` log in with the lab's key, with ``sudo`` as its line in sudoers. Yield the connection variables."""
    for group in groups:
        node.ssh(f"getent group {group} || groupadd --system {group}")
    belonging = f"--groups {','.join(groups)}" if groups else ""
    node.ssh(
        f"useradd --create-home --shell /bin/bash {belonging} {PERSON} && echo {shlex.quote(f'{PERSON}:{PASSWORD}')} | chpasswd"
        f" && install -d -o {PERSON} -m 700 /home/{PERSON}/.ssh"
        f" && install -o {PERSON} -m 600 /root/.ssh/authorized_keys /home/{PERSON}/.ssh/authorized_keys"
    )
    if sudo:
        node.write(f"/etc/sudoers.d/{PERSON}", sudo.rstrip("\n") + "\n")
        node.ssh(f"chmod 440 /etc/sudoers.d/{PERSON} && visudo --check --quiet --file=/etc/sudoers.d/{PERSON}")
    try:
        yield {"ansible_user": PERSON}
    finally:
        node.ssh(f"rm -f /etc/sudoers.d/{PERSON}; pkill -KILL -u {PERSON}; sleep 0.2; userdel --force --remove {PERSON}; true")
        node.ssh(
            f"rm -rf /var/tmp/fleet-power-jobs-*; for group in {' '.join(groups)}; do [ $group = docker ] || groupdel $group; done; true"
        )
