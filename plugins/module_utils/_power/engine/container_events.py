# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to containers, as the engine tells it by itself; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .engine_answers import server_in_event

#: What is told of: whatever begins or ends a run, or explains its end.
ACTIONS = ("start", "die", "kill", "destroy", "oom")
_NANOSECONDS = 10**9
#: No number that an engine means is larger, in nanoseconds or anything else.
_MOST = 2**63


@dataclass(frozen=True)
class ContainerEvent:
    """One thing that happened to a container: ``at``, in nanoseconds of the engine's clock since the epoch.

    ``server`` is a hint, an image's label may name it, too. ``signal`` is what a ``kill`` sent, ``exit_code`` what a ``die`` ended with.
    """

    at: int
    action: str
    container: str
    server: str | None = None
    signal: int | None = None
    exit_code: int | None = None


def container_event(told: object) -> ContainerEvent | None:
    """Read an event of the engine; None for what is no event of a container, or cannot be understood."""
    if not isinstance(told, Mapping) or told.get("Type", "container") != "container":
        return None
    actor = _map(told.get("Actor"))
    action, container = told.get("Action"), actor.get("ID") or told.get("id")
    at = _number(told.get("timeNano"))
    if at is None and (seconds := _number(told.get("time"))) is not None:
        at = _number(seconds * _NANOSECONDS)
    if at is None or not (isinstance(action, str) and action and isinstance(container, str) and container):
        return None
    attributes = _map(actor.get("Attributes"))
    return ContainerEvent(
        at=at,
        action=action,
        container=container,
        server=server_in_event({"Actor": {"Attributes": attributes}}),
        signal=_number(attributes.get("signal")),
        exit_code=_number(attributes.get("exitCode")),
    )


def engine_moment(at: int) -> str:
    """A moment in nanoseconds as the engine's ``since`` takes it: a float would be some hundred nanoseconds beside it."""
    return f"{at // _NANOSECONDS}.{at % _NANOSECONDS:09d}"


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> int | None:
    """Read a whole number that is not negative, or text that is one."""
    if isinstance(value, str) and len(value) < len(str(_MOST)) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST else None
