# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ended runs of Ansible, and their output."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ran:
    rc: int
    stdout: str
    stderr: str
    seconds: float
    #: ``host``, ``task`` and ``result`` of each ended task, in order.
    results: tuple[dict[str, Any], ...] = ()

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


def changes(ran: Ran) -> list[str]:
    return sorted({each["task"].partition(" : ")[2] or each["task"] for each in ran.results if each["result"].get("changed")})


def made(ran: Ran) -> Ran:
    assert ran.rc == 0, ran.output
    return ran


def refusal(ran: Ran) -> str:
    """Return the last sentence of a failed run, which is a message of this collection."""
    assert ran.rc != 0, ran.output
    message = str([each["result"]["msg"] for each in ran.results if each["result"].get("msg")][-1])
    assert message.startswith("Cannot "), ran.output
    return message


def recap(ran: Ran) -> dict[str, int]:
    """Return how often each host failed or was unreachable, from the last lines of Ansible."""
    _said, _title, lines = ran.stdout.rpartition("PLAY RECAP")
    found = re.findall(r"^(\S+) +: ok=.* unreachable=(\d+) +failed=(\d+)", lines, re.MULTILINE)
    return {host: int(unreachable) + int(failed) for host, unreachable, failed in found}


def words_of(ran: Ran) -> str:
    """Return the output without its line breaks."""
    return " ".join(ran.output.split())
