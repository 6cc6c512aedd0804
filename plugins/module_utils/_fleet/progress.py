# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The progress of servers while tasks act on them, in lines for people: one for each change, or sums if there are too many; pure.

All tasks of one Ansible share a board, kept as JSON between them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from .._power.model.clock import read_timestamp
from .._power.model.errors import LEFT_ALONE, LEFT_TO_PLAYERS, Frozen
from .._power.model.news import COUNTDOWN, PLAYERS
from .._power.model.schema import blanked

#: The most lines in a second, and the seconds between reminders.
MOST_A_SECOND = 3
REMIND_SECONDS = 20.0
#: While servers only wait for players, which may take hours.
REMIND_OF_PLAYERS_SECONDS = 300.0
_NAMED = 3
_LONGEST_NAME = 40
#: The largest number and the longest word in news; others are not ours.
_GREATEST = 10**7
_LONGEST_WORD = 5000
_DOING = {
    "prepare": "being looked at",
    "pull": "getting its image",
    "stop": "stopping",
    "hook": "running a hook",
    "queue": "waiting for its turn",
    "preboot": "being made ready to boot",
    "start": "starting",
    "kill": "being killed",
    "limit": "getting other limits",
    "ready": "up, not ready yet",
    "proof": "its new version is on trial",
    "locked": "waiting for its lock",
    PLAYERS: "waiting for players",
    COUNTDOWN: "counting down",
    "stopping": "stopping",
    "starting": "starting",
}
#: The limit of a phase, if the news has it.
_UNTIL = {"stop": "SIGKILL at", "hook": "at most until", PLAYERS: "at most until", COUNTDOWN: "due at"}
_SHOWN: dict[str, tuple[type, ...]] = {
    "servers": (int,),
    "seconds": (int, float),
    **dict.fromkeys(("server", "name", "action", "phase", "deadline", "outcome", "code", "why"), (str,)),
}
_FAILURES = ("refused", "cancelled", "failed")
_QUIET = ("unchanged", "skipped")
_COUNTS = ("servers", "ended", "failed", "for_players", "frozen")


class Board:
    """The state of all servers that the tasks of one Ansible act on, and the news not yet shown. Moments are in seconds since 1970."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        """``state`` is a result of `state`, empty at the beginning."""
        self._hosts: dict[str, dict[str, Any]] = dict(state.get("hosts", {}))
        self._shown_at: list[float] = list(state.get("shown_at", ()))
        #: News not yet shown: the host, and the news of one of its servers.
        self._held: list[tuple[str, dict[str, Any]]] = list(state.get("held", ()))

    def state(self) -> dict[str, Any]:
        """Return the board for JSON."""
        return {"hosts": self._hosts, "shown_at": self._shown_at, "held": self._held}

    def begin(self, host: str) -> None:
        """Begin a task on a host. The first task drops the counts of earlier ones."""
        if not self.followed:
            self._hosts.clear()
        self._of(host)["followed"] = True

    def end(self, host: str) -> None:
        if host in self._hosts:
            self._hosts[host].update(followed=False, now={})

    @property
    def followed(self) -> int:
        """The number of hosts with a running task."""
        return sum(bool(each["followed"]) for each in self._hosts.values())

    def take(self, host: str, lines: Sequence[str], now: float) -> None:
        """Add a host's lines of news. A newer phase of a server replaces an unshown one; its end is always shown."""
        for news in filter(None, map(_read, lines)):
            if "servers" in news:
                self._of(host)["servers"] += int(news["servers"])
            else:
                self._note(host, news, now)

    def lines(self, now: float) -> list[str]:
        """Return the lines to show now, within the limit for a second; the rest is kept. After the last task, one more line shows it."""
        free = self.free(now) or int(not self.followed)
        if self._held and free:
            lines = [*self._composed(free)]
        elif not self._held and free and self._shown_at and now - self._shown_at[-1] >= self._remind_seconds:
            lines = [*self._reminder(now)]
        else:
            lines = []
        self._shown_at = [*self._shown_at, *[now] * len(lines)][-MOST_A_SECOND:]
        # Names of hosts and servers may have any content.
        return [f"{datetime.fromtimestamp(now).strftime('%H:%M:%S')} {blanked(line, '?')}{self._counts()}" for line in lines]

    def say(self, host: str, text: str) -> None:
        """Add a line about the host itself."""
        self._held.append((host, {"said": text}))

    def free(self, now: float) -> int:
        """Return how many more lines this second allows."""
        return MOST_A_SECOND - sum(0 <= now - moment < 1 for moment in self._shown_at)

    @property
    def _remind_seconds(self) -> float:
        phases = {news["phase"] for entry in self._hosts.values() for news in entry["now"].values()}
        return REMIND_OF_PLAYERS_SECONDS if phases <= {PLAYERS, COUNTDOWN} else REMIND_SECONDS

    def _of(self, host: str) -> dict[str, Any]:
        return self._hosts.setdefault(host, {**dict.fromkeys(_COUNTS, 0), "now": {}, "followed": False})

    def _note(self, host: str, news: dict[str, Any], now: float) -> None:
        server, outcome, entry = str(news.get("server", "")), news.get("outcome", ""), self._of(host)
        self._held = [(at, old) for at, old in self._held if at != host or old.get("server") != server or old.get("outcome")]
        if outcome:
            entry["ended"] += 1
            entry["failed"] += _is_failure(news)
            entry["for_players"] += _is_refused(news, LEFT_TO_PLAYERS)
            entry["frozen"] += _is_refused(news, (Frozen.code,))
            entry["now"].pop(server, None)
            if outcome in _QUIET:
                return
        elif news.get("phase") in _DOING:
            entry["now"][server] = {**news, "since": now}
        else:
            return
        self._held.append((host, news))

    def _composed(self, free: int) -> Iterator[str]:
        """Yield at most ``free`` lines: failures first, and a sum of the rest if needed."""
        held, self._held = sorted(self._held, key=lambda each: "said" not in each[1] and not _is_failure(each[1])), []
        alone = held if len(held) <= free else held[: free - 1]
        for host, news in alone:
            yield f"{host} {news['said']}" if "said" in news else f"{host} {_name(news)} {_words(news)}"
        rest = held[len(alone) :]
        if rest:
            yield _summed_up(rest)

    def _reminder(self, now: float) -> Iterator[str]:
        going = [(each["since"], host, each) for host, entry in self._hosts.items() for each in entry["now"].values()]
        if going:
            since, host, news = min(going, key=lambda each: each[0])
            others = f"; {len(going) - 1} more under way" if len(going) > 1 else ""
            yield f"{host} {_name(news)} {_words(news, f' for {now - since:.0f} s')}{others}"

    def _counts(self) -> str:
        servers, ended, *others = (sum(each[name] for each in self._hosts.values()) for name in _COUNTS)
        if servers < 2:
            return ""
        parts = [f", {number} {words}" for number, words in zip(others, ("failed", "skipped for players", "frozen")) if number]
        return f" [{ended} of {servers}{''.join(parts)}]"


def pace(followed: int) -> tuple[float, float]:
    """Return seconds to gather news, and to answer without any. With more hosts, answers are rarer and have more news."""
    return max(1.0, min(30.0, followed * followed / 10)), max(10.0, min(60.0, followed * 4.0))


def _is_refused(news: Mapping[str, Any], codes: Sequence[str]) -> bool:
    return news.get("outcome") == "refused" and news.get("code") in codes


def _is_failure(news: Mapping[str, Any]) -> bool:
    """Tell whether a failure budget counts the outcome."""
    return news.get("outcome") in _FAILURES and not _is_refused(news, LEFT_ALONE)


def _summed_up(held: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    hosts = list(dict.fromkeys(host for host, _news in held))
    kinds: dict[str, list[str]] = {}
    for host, news in held:
        kinds.setdefault(_kind(news), []).append(host if "said" in news else _name(news))
    parts = (f"{len(names)} {kind}" + (f" ({', '.join(names)})" if len(names) <= _NAMED else "") for kind, names in kinds.items())
    where = ", ".join(hosts) if len(hosts) <= _NAMED else f"{len(hosts)} nodes"
    return f"{where}: {', '.join(parts)}"


def _kind(news: Mapping[str, Any]) -> str:
    """Return the words for an outcome that several servers share, or for a line of several hosts."""
    if "said" in news:
        return str(news["said"])
    if news.get("outcome"):
        return f"{news.get('action', '')} {news['outcome']}"
    return _DOING[str(news["phase"])]


def _words(news: Mapping[str, Any], lasting: str = "") -> str:
    if news.get("outcome"):
        code = f", {news['code']}," if news.get("code") else ""
        return f"{news.get('action', '')} {news['outcome']}{code} in {float(news.get('seconds', 0)):.1f} s"
    phase = str(news["phase"])
    until = f", {_UNTIL[phase]} {_clock(str(news['deadline']))}" if phase in _UNTIL and news.get("deadline") else ""
    why = f" ({news['why']})" if news.get("why") else ""
    return f"{_DOING[phase]}{why}{lasting}{until}"


def _name(news: Mapping[str, Any]) -> str:
    return str(news.get("name") or str(news.get("server", ""))[:8])[:_LONGEST_NAME]


def _read(line: str) -> dict[str, Any] | None:
    """Return the valid news in a line, None without any."""
    try:
        news = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return None
    if not isinstance(news, dict):
        return None
    return {name: value for name, value in news.items() if isinstance(value, _SHOWN.get(name, ())) and _is_sane(value)}


def _is_sane(value: Any) -> bool:
    """Tell whether a value can be shown. On the shared board, an error would fail every task."""
    return len(value) <= _LONGEST_WORD if isinstance(value, str) else 0 <= value <= _GREATEST


def _clock(moment: str) -> str:
    try:
        return read_timestamp(moment).astimezone().strftime("%H:%M:%S")
    except (ValueError, OverflowError):
        return moment
