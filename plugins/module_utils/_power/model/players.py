# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Players: how many are online, and the options that wait for them or warn them; pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from .errors import SettingsInvalid
from .records import dataclass

LONGEST_DELAY_SECONDS = 7 * 24 * 3600
MOST_PLAYERS = 1_000_000
#: The earliest mark of a countdown, in seconds before its end, and the most marks.
EARLIEST_MARK_SECONDS = 24 * 3600
MOST_MARKS = 20
#: The default warning at each mark.
WARN_MESSAGE = "Server {action} in {time}. {reason}"
PLAYER_OPTIONS = ("players_at_most", "max_delay", "on_max_delay", "warn", "warn_message")
#: The phases of a countdown: it waits for players, or warns them.
WAITING, COUNTING = "waiting", "counting"


class OnMaxDelay(str, Enum):
    """What happens to an action at the end of ``max_delay``."""

    PROCEED = "proceed"
    SKIP = "skip"


@dataclass(frozen=True)
class PlayerCount:
    """The number of players: ``online`` None is unknown, and ``why`` gives the reason. ``most`` is how many may play."""

    online: int | None = None
    most: int | None = None
    why: str = ""

    def facts(self) -> dict[str, Any]:
        return {"online": self.online, "max": self.most, "unknown_reason": self.why or None}


@dataclass(frozen=True)
class PlayerPolicy:
    """How an action considers the players of a server that is up.

    It may begin while at most ``at_most`` play. It waits for that until ``max_delay`` seconds after its request; ``on_max_delay`` decides
    then. The countdown warns players at each mark of ``warn`` (seconds before its end, earliest first) and ends by ``max_delay``.
    """

    at_most: int
    max_delay: int
    on_max_delay: OnMaxDelay
    warn: tuple[int, ...] = ()
    warn_message: str = WARN_MESSAGE

    @property
    def countdown_seconds(self) -> int:
        """Seconds from the first mark to the end; 0 without a countdown."""
        return self.warn[0] if self.warn else 0

    def options(self) -> dict[str, Any]:
        return {
            "players_at_most": self.at_most,
            "max_delay": self.max_delay,
            "on_max_delay": self.on_max_delay.value,
            "warn": list(self.warn),
            "warn_message": self.warn_message,
        }


@dataclass(frozen=True)
class PlayerWait:
    """The wait before a turn: seconds, and marks with a warning. ``announced``: the game got all warnings; None: there were none."""

    seconds: float = 0.0
    marks: tuple[int, ...] = ()
    announced: bool | None = None

    def facts(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "marks": list(self.marks), "announced": self.announced}


def read_policy(verb: str, affects_players: bool, given: Mapping[str, Any]) -> PlayerPolicy | None:
    """Return the policy of options, None if there are none. ``affects_players``: the action takes such options.

    None in ``given`` means absent. Without ``players_at_most`` players are warned, and the action runs at ``max_delay``, or once no player
    is online. Without ``max_delay`` the countdown begins at once. Raises `SettingsInvalid`, also for wrong types.
    """
    options = {name: given.get(name) for name in PLAYER_OPTIONS if given.get(name) is not None}
    if not options:
        return None
    if not affects_players:
        raise SettingsInvalid(f"Cannot {verb} with {next(iter(options))}: only stop and restart consider players")
    marks = _marks(options.get("warn", []))
    at_most = _whole_number("players_at_most", options.get("players_at_most"), MOST_PLAYERS)
    if at_most is None and not marks:
        raise SettingsInvalid(f"Cannot use {next(iter(options))} alone: give players_at_most to wait for players, or warn to tell them")
    default = OnMaxDelay.PROCEED if at_most is None else OnMaxDelay.SKIP
    on_max_delay = next((each for each in OnMaxDelay if each.value == options.get("on_max_delay", default)), None)
    if on_max_delay is None:
        raise SettingsInvalid("Cannot use on_max_delay: expected proceed or skip")
    if at_most is not None and on_max_delay is OnMaxDelay.PROCEED and "max_delay" not in options:
        raise SettingsInvalid("Cannot use on_max_delay=proceed without max_delay: players_at_most would wait for nothing")
    skips_all = at_most == 0 and on_max_delay is OnMaxDelay.SKIP
    max_delay = _max_delay(options.get("max_delay"), marks, waits=at_most is not None, skips_all=skips_all)
    if at_most is None and on_max_delay is OnMaxDelay.SKIP:
        raise SettingsInvalid("Cannot use on_max_delay=skip without players_at_most: nothing says when it would be skipped")
    if marks and skips_all:
        raise SettingsInvalid(
            "Cannot use warn with players_at_most=0 and on_max_delay=skip: it happens only without players, so the warning is useless; "
            "leave out warn, or give on_max_delay=proceed"
        )
    return PlayerPolicy(at_most or 0, max_delay, on_max_delay, marks, _message(options.get("warn_message", WARN_MESSAGE)))


def _marks(value: object) -> tuple[int, ...]:
    if not isinstance(value, (list, tuple)) or len(value) > MOST_MARKS:
        raise SettingsInvalid(f"Cannot use warn: expected a list of at most {MOST_MARKS} whole numbers")
    marks = [_whole_number("warn", each, EARLIEST_MARK_SECONDS, least=1) for each in value]
    return tuple(sorted({mark for mark in marks if mark is not None}, reverse=True))


def _max_delay(value: object, marks: tuple[int, ...], *, waits: bool, skips_all: bool) -> int:
    longest = marks[0] if marks else 0
    max_delay = _whole_number("max_delay", value, LONGEST_DELAY_SECONDS)
    if max_delay is None:
        max_delay = 0 if waits else longest
    if max_delay < longest:
        also = ", and on_max_delay to proceed" if skips_all else ""
        raise SettingsInvalid(
            f"Cannot warn players {longest} s before the action with max_delay {max_delay}: set max_delay to {longest} or more{also}"
        )
    return max_delay


def _whole_number(name: str, value: object, most: int, *, least: int = 0) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        shown = value if isinstance(value, int) and abs(value) < 10**12 else type(value).__name__
        raise SettingsInvalid(f"Cannot use {name}={shown}: expected a whole number from {least} to {most}")
    return value


def _message(value: object) -> str:
    if not isinstance(value, str) or not any(each.isprintable() and not each.isspace() for each in value):
        raise SettingsInvalid("Cannot use warn_message: expected text that can be read")
    return value
