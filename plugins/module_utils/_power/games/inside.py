# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of a profile, run in a server's container: one that prints who plays, one that tells them something."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..engine.engine import Engine
from ..model.players import PlayerCount
from ..model.server import Snapshot
from .counts import Unanswered, counted, number_of

#: Bytes of output that are read; a number has a few.
_MOST_BYTES = 4096
#: What the engine makes of a program that may not be run, or is not there.
_NO_PROGRAM = (126, 127)
#: A number, and how many may play after a slash.
_COUNT = re.compile(rb"([0-9]{1,7})(?:\s*/\s*([0-9]{1,7}))?")


def count_by(engine: Engine, snapshot: Snapshot, words: Sequence[str], seconds: float) -> PlayerCount:
    """Have a command count the players. Raises `Unanswered`, and as the engine does."""
    return count_in(_run(engine, snapshot, words, seconds, "query"))


def count_in(output: bytes) -> PlayerCount:
    """Return the count in what a command has printed: nothing but a number, or two with a slash between. Raises `Unanswered`."""
    found = _COUNT.fullmatch(output.strip())
    if found is None:
        raise Unanswered("its query command prints no number of players")
    return counted(number_of(found[1]), found[2])


def tell_by(engine: Engine, snapshot: Snapshot, words: Sequence[str], seconds: float) -> None:
    """Have a command tell the players something. Raises `Unanswered`, and as the engine does."""
    _run(engine, snapshot, words, seconds, "announce")


def _run(engine: Engine, snapshot: Snapshot, words: Sequence[str], seconds: float, purpose: str) -> bytes:
    ended = engine.commands.run(snapshot.id, words, seconds=seconds, most_bytes=_MOST_BYTES)
    if ended.exit_code is None:
        raise Unanswered(f"its {purpose} command {ended.why}")
    if ended.exit_code in _NO_PROGRAM:
        raise Unanswered(f"its {purpose} command cannot be run: its container has no such program, or none that may be run")
    if ended.exit_code != 0:
        raise Unanswered(f"its {purpose} command ended with exit code {ended.exit_code}")
    return ended.output
