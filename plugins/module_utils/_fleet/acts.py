# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who acts on a server or did so last, why, and when, in as few words as a table has room for; pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from .played import countdown_words

#: Before and after this, the year says more than the time of day.
_NEAR = timedelta(days=180)


def act_words(entry: Mapping[str, Any], now: datetime) -> tuple[str | None, str | None, str | None]:
    """Return what is done to a server, or was done last, by whom, and why.

    Whoever holds its lock comes before whoever waits for its players, and both before what has ended.
    """
    lock: Mapping[str, Any] = entry.get("lock") or {}
    countdown: Mapping[str, Any] = entry.get("countdown") or {}
    operation: Mapping[str, Any] = entry.get("last_operation") or {}
    if lock:
        words: str | None = _lock_words(lock, now)
    elif countdown:
        words = countdown_words(countdown, moment(countdown.get("due"), now) or "an unknown time")
    else:
        words = _operation_words(operation, now)
    return (words, *_asked(lock or countdown or operation))


def moment(timestamp: object, now: datetime) -> str | None:
    """Return a timestamp as far as it tells anything: today's without the day, an old one without the time."""
    if timestamp is None:
        return None
    text = str(timestamp)[:19]
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return text
    today = now.replace(tzinfo=None)
    if then.date() == today.date():
        return f"{then:%H:%M:%S}"
    return f"{then:%m-%d %H:%M}" if abs(today - then) < _NEAR else f"{then:%Y-%m-%d}"


def _lock_words(lock: Mapping[str, Any], now: datetime) -> str:
    """Describe a lock: the action that holds it, its phase, and until when that may last."""
    deadline = moment(lock.get("phase_deadline"), now)
    until = "" if deadline is None else f" until {deadline}"
    action, phase = (str(lock.get(name) or "unknown") for name in ("action", "phase"))
    return f"{phase if phase == action else f'{action}, {phase}'}{until}"


def _operation_words(operation: Mapping[str, Any], now: datetime) -> str | None:
    if not operation:
        return None
    code = f" ({operation['code']})" if operation.get("code") else ""
    when = moment(operation.get("ended_at") or operation.get("begun_at") or operation.get("requested_at"), now) or ""
    return f"{operation.get('action')} {operation.get('outcome') or 'under way'}{code} {when}".rstrip()


def _asked(act: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return who asked, and why: the reason, else the play without its task, or what else the origin has in brackets."""
    who, _bracket, where = str(act.get("origin") or "").partition(" (")
    where = where.removesuffix(")")
    if where.startswith("play "):
        where = where.rpartition(", task ")[0] or where
    return who or None, str(act.get("reason") or "") or where or None
