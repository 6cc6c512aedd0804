# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions of the machines that tests ran on, for the README's table."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ansible_collections.fleet.power.tests.fleet.nodes import lab_inventory

from .machine import Machine

#: Prints one fact a line: a key and its value.
_LOOK = r"""
. /etc/os-release
echo "tested ${NAME%% *} ${VERSION_ID:-testing}"
echo "docker $(docker version --format '{{.Server.Version}}' | sed 's/+.*//')"
echo "store $(docker info --format '{{.Driver}}')"
echo "python $(python3 -c 'import sys; print(*sys.version_info[:2], sep=".")')"
echo "sdk $(python3 -c 'import docker; print(docker.__version__)')"
echo "systemd $(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')"
echo "kernel $(uname -r | cut -d. -f1,2)"
echo "cgroups $(docker info --format '{{.CgroupVersion}}')"
if iptables -t nat -S DOCKER >/dev/null 2>&1; then echo "filter iptables"; else echo "filter none"; fi
"""


def record_facts() -> None:
    """Write the facts of the first machine beside the record that ``FLEET_POWER_RAN`` names, if there is one."""
    path = Path(os.environ.get("FLEET_POWER_RAN") or os.devnull)
    if not path.is_file():
        return
    ran = {outcome: len(tests) for outcome, tests in json.loads(path.read_text()).items()}
    facts = dict(line.split(" ", 1) for line in Machine(*next(iter(lab_inventory("machines")[1].items()))).ssh(_LOOK).splitlines())
    facts |= {"tested": f"{facts['tested']}, a machine", "suite": os.environ.get("FLEET_LAB_SUITE") or "trixie"}
    path.with_suffix(".json").write_text(json.dumps({**facts, **ran}, indent=1) + "\n")
