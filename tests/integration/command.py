# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the command ``fleet-power`` on a test's node."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .lab import Lab

MODULE = "ansible_collections.fleet.power.plugins.module_utils.command"


@dataclass(frozen=True)
class Seen:
    code: int
    out: str
    err: str


def argv(*arguments: str) -> list[str]:
    return [sys.executable, "-m", MODULE, *arguments]


def environment(lab: Lab, more: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "DOCKER_HOST": lab.docker_host, "COLUMNS": "80", "PYTHONPATH": os.pathsep.join(sys.path), **(more or {})}


def with_config(lab: Lab, arguments: Sequence[str]) -> list[str]:
    return [arguments[0], "--config", str(lab.config), *arguments[1:]]


def fleet_power(lab: Lab, *arguments: str, **more: str) -> Seen:
    """Run the command to its end; ``more`` are variables of its environment."""
    ended = subprocess.run(
        argv(*with_config(lab, arguments)), env=environment(lab, more), capture_output=True, text=True, timeout=120, check=False
    )
    return Seen(ended.returncode, ended.stdout, ended.stderr)
