# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The game of one run, from its profile."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from ..definitions.definition import Definition
from ..definitions.game_keys import MESSAGE, GameProfile
from ..model.cancellation import Deadline
from ..model.clock import SYSTEM_CLOCK
from ..model.errors import ENGINE_FAULTS, PowerError
from ..model.players import PlayerCount
from ..model.schema import one_line
from ..model.server import Snapshot
from . import a2s, minecraft, quake3, rcon
from .exchange import Unanswered, address_of, counted, default_port, number_of
from .message import clean, for_console, for_word

if TYPE_CHECKING:
    from ..engine.docker_engine import DockerEngine

#: Bytes of output that are read; a number has a few.
_MOST_OUTPUT = 4096
#: The engine's exit codes for a program that is missing or not executable.
_NO_PROGRAM = (126, 127)
_COUNT = re.compile(rb"([0-9]{1,7})(?:\s*/\s*([0-9]{1,7}))?")
_Answer = TypeVar("_Answer")
#: Time limit of one whole exchange with a game.
SECONDS = 3.0
QUERIES: dict[str, tuple[str, Callable[[tuple[str, int], Deadline], PlayerCount]]] = {
    "minecraft": ("tcp", minecraft.ask),
    "a2s": ("udp", a2s.ask),
    "quake3": ("udp", quake3.ask),
}
_LONGEST_REASON = 300


def count_in(output: bytes) -> PlayerCount:
    """Return the count in a command's output: only a number, or two with a slash between. Raises `Unanswered`."""
    found = _COUNT.fullmatch(output.strip())
    if found is None:
        raise Unanswered("its query command prints no number of players")
    return counted(number_of(found[1]), found[2])


class ProfiledGame:
    """Queries one run of a server, and sends messages to its players; see `Game`."""

    def __init__(
        self, profile: GameProfile, snapshot: Snapshot, definition: Definition | None, engine: DockerEngine, *, seconds: float = SECONDS
    ) -> None:
        self._profile = profile
        self._snapshot = snapshot
        self._definition = definition
        self._engine = engine
        self._seconds = seconds

    def players(self) -> PlayerCount:
        try:
            return self._count()
        except (Unanswered, PowerError) as error:
            return PlayerCount(why=one_line(str(error), _LONGEST_REASON))
        except Exception as error:
            # A fault of ours means an unknown count too: it must not count as empty.
            return PlayerCount(why=f"the query failed by a fault in this collection ({type(error).__name__})")

    def announce(self, text: str) -> str:
        message = clean(text)
        if not message:
            return "the message is empty"
        try:
            self._tell(message)
        except (Unanswered, PowerError) as error:
            return one_line(str(error), _LONGEST_REASON)
        except Exception as error:
            return f"the announcement failed by a fault in this collection ({type(error).__name__})"
        return ""

    def _count(self) -> PlayerCount:
        profile = self._profile
        if profile.count:
            return count_in(self._run_command(profile.count, "query"))
        if not profile.protocol:
            raise Unanswered("its game has no query")
        return self._ask(profile.port, *QUERIES[profile.protocol])

    def _tell(self, message: str) -> None:
        profile = self._profile
        if profile.stdin:
            self._write(profile.stdin.replace(MESSAGE, for_console(message)))
        elif profile.command:
            self._run_command([word.replace(MESSAGE, for_word(message)) for word in profile.command], "announce")
        elif profile.rcon is not None:
            login = rcon.login_of(profile.rcon, self._snapshot)
            command = profile.rcon.command.replace(MESSAGE, for_console(message))
            port = login.port or profile.port
            self._ask(port, "tcp", lambda address, deadline: rcon.send(address, login.password, command, deadline))
        else:
            raise Unanswered("its game has no announcement")

    def _write(self, line: str) -> None:
        if not self._snapshot.open_stdin:
            raise Unanswered("its container has no open standard input")
        try:
            self._engine.write_stdin(self._snapshot.id, f"{line}\n", taken_within=self._seconds)
        except ENGINE_FAULTS as error:
            if error.facts.get("not_read"):
                raise Unanswered("its process does not read its standard input; it may still read this message") from error
            raise

    def _run_command(self, words: Sequence[str], purpose: str) -> bytes:
        ended = self._engine.commands.run(self._snapshot.id, words, seconds=self._seconds, most_bytes=_MOST_OUTPUT)
        if ended.exit_code is None:
            raise Unanswered(f"its {purpose} command {ended.why}")
        if ended.exit_code in _NO_PROGRAM:
            raise Unanswered(f"its {purpose} command cannot be run: its container has no such program, or none that may be run")
        if ended.exit_code != 0:
            raise Unanswered(f"its {purpose} command ended with exit code {ended.exit_code}")
        return ended.output

    def _ask(self, port: int | None, protocol: str, exchange: Callable[[tuple[str, int], Deadline], _Answer]) -> _Answer:
        """Make an exchange with a published port of the game, by default that of its default allocation."""
        if not self._engine.local:
            raise Unanswered("its engine is on another machine, where only a command can count or warn players")
        host, there = address_of(self._snapshot, port or default_port(self._snapshot, self._definition), protocol)
        try:
            return exchange((host, there), Deadline.after(SYSTEM_CLOCK, self._seconds))
        except Unanswered as error:
            shown = f"[{host}]" if ":" in host else host
            raise Unanswered(f"the game at {shown}:{there} {error}") from error
