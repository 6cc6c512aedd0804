# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of progress, as a person reads them while a task runs: one a change, never into what a machine reads."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ansible_collections.fleet.power.plugins.plugin_utils.spoken import speak

_DOING = {
    "prepare": "is looked at",
    "pull": "pulls its image",
    "stop": "stopping",
    "queue": "waits for its turn",
    "preboot": "is made ready",
    "start": "starting",
    "kill": "is killed",
}


class Progress:
    """The progress of one task on one host."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._total = 0
        self._ended = self._failed = 0

    def show(self, lines: Sequence[str]) -> None:
        """Show what the node told since it was asked last: of each server where it is now, or how it ended."""
        latest: dict[str, dict[str, Any]] = {}
        for news in filter(None, map(_read, lines)):
            if "servers" in news:
                self._total = int(news["servers"])
                continue
            # In the order in which they came to where they are now.
            server = str(news.get("server", ""))
            latest.pop(server, None)
            latest[server] = news
        for news in latest.values():
            self._take(news)

    def say(self, text: str) -> None:
        """Show a line."""
        speak(f"{time.strftime('%H:%M:%S')} {self._host} {text}")

    def _take(self, news: dict[str, Any]) -> None:
        name, outcome, phase = str(news.get("name") or news.get("server", ""))[:40], news.get("outcome", ""), news.get("phase", "")
        if outcome:
            self._ended += 1
            self._failed += outcome not in ("done", "unchanged", "skipped")
            code = f", {news['code']}" if news.get("code") else ""
            text = f"{name} {news.get('action', '')} {outcome}{code} in {float(news.get('seconds', 0)):.1f} s"
        elif phase in _DOING:
            until = f", SIGKILL at {_clock(str(news['deadline']))}" if phase == "stop" and news.get("deadline") else ""
            text = f"{name} {_DOING[phase]}{until}"
        else:
            return
        self.say("".join(character if character.isprintable() else "?" for character in text) + self._counts())

    def _counts(self) -> str:
        if self._total < 2:
            return ""
        failed = f", {self._failed} failed" if self._failed else ""
        return f" [{self._ended} of {self._total}{failed}]"


def _read(line: str) -> dict[str, Any] | None:
    """Return the news in a line; None for what is none."""
    try:
        news = json.loads(line)
    except ValueError:
        return None
    return news if isinstance(news, dict) else None


def _clock(moment: str) -> str:
    """Return the time of day of a timestamp, in the zone of whoever reads."""
    try:
        return datetime.fromisoformat(moment.replace("Z", "+00:00")).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return moment
