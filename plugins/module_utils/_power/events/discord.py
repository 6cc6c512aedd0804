# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events as a Discord message, one line each; pure. Quoted text is escaped: it has no format and mentions no user."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..model.schema import one_line
from ..model.supervision import Verdict
from .event import Event, EventType

CONTENT_TYPE = "application/json"
#: Discord's limit for one message, and the most lines for a reader.
_MOST_CHARACTERS, MOST_LINES = 2000, 20
#: Limits of quoted text; escapes may double its length.
_LONGEST_NAME, _LONGEST_SENTENCE = 80, 300
_LONGEST_LINE = 1000
#: Links show no preview.
_SUPPRESS_EMBEDS = 1 << 2
_SPECIAL = re.compile(r"([\\*_~`|>#\[\]()<@:])")
_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def discord_message(events: Sequence[Event], source: str) -> tuple[bytes, int]:
    """Return a message with the first of these events, as many as fit, and their number; ``source`` names the node or the controller."""
    lines: list[tuple[int, str]] = []
    left = _MOST_CHARACTERS
    for event in events[:MOST_LINES]:
        line = _cut(discord_line(event, source), _LONGEST_LINE)
        if _size(line) + 1 > left:
            break
        lines.append((event.number, line))
        left -= _size(line) + 1
    lines.sort(key=lambda each: each[0])
    body = {"content": "\n".join(line for _number, line in lines), "allowed_mentions": {"parse": []}, "flags": _SUPPRESS_EMBEDS}
    return json.dumps(body, separators=(",", ":")).encode(), len(lines)


def discord_line(event: Event, source: str) -> str:
    about = f"**{_quoted(event.server.name or event.server.uuid)}** on {_quoted(source)}" if event.server else f"**{_quoted(source)}**"
    return f"{_moment(event.at, 'T')} {about}: {_WORDS[event.type](event.data)}"


def _action_ended(data: Mapping[str, Any]) -> str:
    outcome = {"done": "done", "failed": "**failed**"}.get(str(data.get("outcome")), _quoted(data.get("outcome")))
    return f"{_quoted(data.get('action'))} {outcome}{_why(data)}{_by(data)}"


def _crashed(data: Mapping[str, Any]) -> str:
    said = []
    if data.get("exit_code") is not None:
        said.append(f"exit code {_quoted(data['exit_code'])}")
    if data.get("oom_killed"):
        said.append("out of memory")
    if isinstance(data.get("seconds"), (int, float)):
        said.append(f"after {data['seconds']:.0f} s")
    if isinstance(data.get("consecutive_crashes"), int) and data["consecutive_crashes"] > 1:
        said.append(f"{data['consecutive_crashes']} in a row")
    return f"**{'hung' if data.get('verdict') == Verdict.HUNG.value else 'crashed'}**{_in_brackets(said)}"


def _crash_loop(data: Mapping[str, Any]) -> str:
    return f"**given up** after {_quoted(data.get('consecutive_crashes', 'many'))} crashes in a row; it is tried once an hour from now on"


def _countdown(data: Mapping[str, Any]) -> str:
    players, ends = data.get("players"), data.get("ends_at")
    of_players = f" with {players} players" if isinstance(players, int) else ""
    at = f", at {_moment(ends, 'T')}" if ends else ""
    return f"{_quoted(data.get('action'))} is announced{of_players}{at}{_by(data)}"


def _of_servers(data: Mapping[str, Any]) -> str:
    servers = data.get("servers")
    return f" ({len(servers)} servers)" if isinstance(servers, list) and servers and not data.get("node") else ""


def _rollout_begun(data: Mapping[str, Any]) -> str:
    servers, nodes = _quoted(data.get("servers")), _quoted(data.get("nodes"))
    return f"{_run(data)} has begun: {servers} servers of {nodes} nodes{_by(data, 'by', 'reason')}"


def _run(data: Mapping[str, Any]) -> str:
    return f"rolling {_quoted(data.get('action'))} {_quoted(data.get('run'))}"


_WORDS: Mapping[EventType, Callable[[Mapping[str, Any]], str]] = {
    EventType.ACTION_ENDED: _action_ended,
    EventType.SERVER_CRASHED: _crashed,
    EventType.SERVER_CRASH_LOOP: _crash_loop,
    EventType.SERVER_RECOVERED: lambda _data: "up again",
    EventType.COUNTDOWN_BEGUN: _countdown,
    EventType.NODE_FROZEN: lambda data: f"**frozen**{_of_servers(data)} until {_moment(data.get('until'), 'f')}{_by(data)}",
    EventType.NODE_THAWED: lambda data: f"no longer frozen{_of_servers(data)}{_by(data)}",
    EventType.EVENTS_DROPPED: lambda data: f"**{_quoted(data.get('count'))} events were dropped**, since they could not be sent in time",
    EventType.ROLLOUT_BEGUN: _rollout_begun,
    EventType.ROLLOUT_STOPPED: lambda data: f"{_run(data)} **was stopped**{_why(data)}",
    EventType.ROLLOUT_ENDED: lambda data: f"{_run(data)} {'has ended' if data.get('ok') else '**has not ended well**'}{_why(data)}",
}


def _why(data: Mapping[str, Any]) -> str:
    return f": {_quoted(data['msg'], _LONGEST_SENTENCE)}" if data.get("msg") else ""


def _by(data: Mapping[str, Any], *names: str) -> str:
    return _in_brackets([_quoted(data[name]) for name in names or ("origin", "reason") if data.get(name)])


def _in_brackets(said: Iterable[str]) -> str:
    text = ", ".join(said)
    return f" ({text})" if text else ""


def _moment(at: object, form: str) -> str:
    text = str(at)
    if not _ISO.fullmatch(text):
        return _quoted(text)
    return f"<t:{int(datetime.fromisoformat(text[:19] + '+00:00').timestamp())}:{form}>"


def _quoted(value: object, longest: int = _LONGEST_NAME) -> str:
    return _SPECIAL.sub(r"\\\1", one_line(str(value), longest))


def _size(text: str) -> int:
    """Return the length as Discord's strictest client counts: characters above the basic plane count twice."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _cut(line: str, longest: int) -> str:
    while _size(line) > longest:
        line = line[: longest - 3 - (_size(line) - len(line))].rstrip("\\") + "..."
    return line
