# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of Ansible that have ended, and what they said."""

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
    #: For each host and task, in the order they ended: ``host``, ``task``, ``result``.
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
    """The last sentence of a run that must have ended in an error, which is one of ours and not Ansible's."""
    assert ran.rc != 0, ran.output
    message = str([each["result"]["msg"] for each in ran.results if each["result"].get("msg")][-1])
    assert message.startswith("Cannot "), ran.output
    return message


def recap(ran: Ran) -> dict[str, int]:
    """How often each host failed or was unreachable, by the lines that Ansible ends a run with."""
    _said, _title, lines = ran.stdout.rpartition("PLAY RECAP")
    found = re.findall(r"^(\S+) +: ok=.* unreachable=(\d+) +failed=(\d+)", lines, re.MULTILINE)
    return {host: int(unreachable) + int(failed) for host, unreachable, failed in found}


def words_of(ran: Ran) -> str:
    """Return all that a run said, without the breaks of its lines."""
    return " ".join(ran.output.split())
