# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine of ``make machines`` with its own kernel, and the cut of its power."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import Any

from ansible_collections.fleet.power.tests.fleet.nodes import Node, nodes_command


class Machine(Node):
    """A machine of the lab. Tests inspect it over SSH, because it shares no kernel with them."""

    # A loaded machine answers late.
    connect_seconds = 30
    slowness = 4.0

    def ssh_words(self) -> list[str]:
        return self._ssh()

    def cut_power(self) -> None:
        """Cut the power. Data that is not on the disk is lost."""
        nodes_command("halt", self.name)

    def boot(self) -> None:
        nodes_command("boot", self.name)

    def is_halted(self) -> bool:
        return "halted" in next(line for line in nodes_command("status").splitlines() if line.startswith(f"{self.name} "))

    def read(self, path: str) -> str:
        absolute = f"/{path.lstrip('/')}"
        ran = subprocess.run(
            [*self._ssh(), f"cat {shlex.quote(absolute)}"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if ran.returncode != 0:
            raise FileNotFoundError(ran.stderr.strip())
        return ran.stdout

    def has(self, path: str) -> bool:
        return self.ssh(f"test -e /{shlex.quote(path.lstrip('/'))} && echo yes", check=False) != ""

    def write(self, path: str, content: str) -> None:
        place = shlex.quote(path)
        self.feed(f"mkdir -p $(dirname {place}) && cat >{place}", content.encode())

    def unpack(self, directory: str, *words: str) -> None:
        """Give a directory on the machine the files that tar packs with these words."""
        with subprocess.Popen(["tar", *words], stdout=subprocess.PIPE) as packed:
            command = f"mkdir -p {shlex.quote(directory)} && tar -C {shlex.quote(directory)} -x"
            subprocess.run([*self.ssh_words(), command], stdin=packed.stdout, check=True)

    def container(self, name: str) -> dict[str, Any] | None:
        """Return the engine's inspection of a container, or None without one."""
        found = json.loads(self.ssh(f"docker container inspect {name} 2>/dev/null", check=False) or "[]")
        return found[0] if found else None
