# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What servers of the batch under way are at, by the news of their nodes as they came; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

#: News of one server beyond these, and longer words, are none of ours.
_MOST_PHASES = 60
_LONGEST_WORD = 200
_LONGEST_SECONDS = 10.0**8


@dataclass
class LiveServer:
    """One server whose action is under way, or has ended since its batch began. Times are the controller's, as the news came."""

    began: datetime
    phases: list[tuple[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    outcome: str = ""
    code: str = ""

    def ended(self, now: datetime) -> datetime:
        """Return when it ended, or now."""
        return self.began + timedelta(seconds=self.seconds) if self.outcome else max(now, self.began)


#: By node and server.
Live = Mapping[tuple[str, str], LiveServer]


def noted(host: str, lines: Sequence[str], at: float) -> str:
    """Return what a node told, and when, as `read_live` reads it: so many seconds since 1970."""
    return json.dumps({"host": host, "at": at, "lines": list(lines)}) + "\n"


def read_live(texts: Iterable[str]) -> Live:
    """Return what all nodes told, by the texts of `noted` in their order; what is none is passed over."""
    found: dict[tuple[str, str], LiveServer] = {}
    for text in texts:
        told = _parsed(text)
        if not isinstance(told, dict) or not isinstance(told.get("lines"), list) or not isinstance(told.get("at"), (int, float)):
            continue
        for line in told["lines"]:
            news = _parsed(line)
            if isinstance(news, dict) and isinstance(news.get("server"), str):
                _note(found, str(told.get("host")), news, float(told["at"]))
    return found


def _note(found: dict[tuple[str, str], LiveServer], host: str, news: Mapping[str, Any], at: float) -> None:
    seconds = news.get("seconds", 0)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < _LONGEST_SECONDS:
        return
    key = host, str(news["server"])[:_LONGEST_WORD]
    began = datetime.fromtimestamp(at).astimezone() - timedelta(seconds=seconds)
    known = found.setdefault(key, LiveServer(began))
    # News come some time after what they tell.
    known.began, known.seconds = min(known.began, began), seconds
    if isinstance(news.get("outcome"), str):
        known.outcome, known.code = news["outcome"][:_LONGEST_WORD], str(news.get("code") or "")[:_LONGEST_WORD]
    elif isinstance(news.get("phase"), str) and len(known.phases) < _MOST_PHASES:
        known.phases.append((news["phase"][:_LONGEST_WORD], seconds))


def _parsed(text: object) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
