# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to stop a run: signal names, and its JSON form for a container's label; pure."""

from __future__ import annotations

import json
import re
import signal

from ..model.plain import as_map, read_whole
from ..model.schema import parsed_json
from ..model.server import StopType, StopWay

#: The longest grace: a week. Longer ones could leave the range of a calendar.
LONGEST_STOP_SECONDS = 7 * 24 * 3600

_DEEPEST = 8
_REALTIME_FIRST, _REALTIME_LAST = 34, 64
_REALTIME_NAME = re.compile(r"RT(?:MIN(\+[0-9]{1,2})?|(MAX)(-[0-9]{1,2})?)")


def stop_signal(value: str) -> str:
    """Return the engine's signal name for ``C`` or ``^C`` (both SIGINT), a name with or without SIG in any case, or a number.

    Raises ValueError for anything else. Wings sends SIGKILL then; here the definition is invalid.
    """
    text = value.strip().lstrip("^").upper()
    if text == "C":
        return "SIGINT"
    number = signal_number(text)
    if number is not None and _REALTIME_FIRST <= number <= _REALTIME_LAST:
        # The engine knows each real-time signal by number, but only some by the name from SIGRTMIN.
        return str(number)
    try:
        return signal.Signals(number or 0).name
    except ValueError:
        raise ValueError("not a signal: expected C, ^C, a name such as SIGINT, or a number") from None


def signal_number(text: str) -> int | None:
    """Return the number of a signal by its number, or by its name with or without SIG in any case; None or 0 if there is none."""
    if re.fullmatch(r"[0-9]{1,2}", text):
        return int(text)
    name = text.upper().removeprefix("SIG")
    match = _REALTIME_NAME.fullmatch(name)
    if match:
        wanted = (_REALTIME_LAST if match[2] else _REALTIME_FIRST) + int(match[1] or match[3] or 0)
        return wanted if _REALTIME_FIRST <= wanted <= _REALTIME_LAST else None
    found = signal.Signals.__members__.get(f"SIG{name}")
    return None if found is None else int(found)


def read_stop_way(kind: str, value: str, timeout: int | None) -> tuple[StopWay, str]:
    """Return the way to stop (incomplete: native), and a warning or "". Raises ValueError for an unknown type or signal."""
    if kind not in ("", *(known.value for known in StopType)):
        raise ValueError("not a way to stop: expected command, signal or stop")
    native = StopWay(StopType.NATIVE, timeout=timeout)
    if kind == StopType.NATIVE.value:
        return native, ""
    if not kind or not value.strip():
        return native, f"process_configuration.stop names no {kind or 'type'}: the container's own stop signal is sent"
    text = stop_signal(value) if kind == StopType.SIGNAL.value else value
    return StopWay(StopType(kind), text, timeout), ""


def stop_way_text(way: StopWay) -> str:
    """Return the text for a container's label; equal ways have equal text."""
    return json.dumps({"type": way.type.value, "value": way.value, "timeout": way.timeout}, sort_keys=True)


def stop_way_from_text(text: str) -> StopWay | None:
    """Read the text of a label; None if it is invalid, because anyone can write labels."""
    found = as_map(parsed_json(text, _DEEPEST))
    kind, value, timeout = found.get("type"), found.get("value", ""), found.get("timeout")
    if not isinstance(kind, str) or not isinstance(value, str) or "\x00" in value:
        return None
    if timeout is not None and read_whole(timeout, below=LONGEST_STOP_SECONDS + 1) is None:
        return None
    try:
        # Half of a surrogate pair cannot be sent.
        value.encode()
        return read_stop_way(kind, value, timeout)[0]
    except ValueError:
        return None
