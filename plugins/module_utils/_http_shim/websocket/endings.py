# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of an action, as the console that asked for it is told; pure.

What the core says names paths, registries, addresses, and who holds a server: that is for those who run the node. Others hear it in general
words, with the operation's id, under which the log has the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..._power.model.errors import (
    EXPIRED,
    INTERRUPTED,
    CancelledByKill,
    CountdownRunning,
    DefinitionInvalid,
    DiskFull,
    ImageUnavailable,
    KillUnsettled,
    LockTimeout,
    PlayersOnline,
    PlayersUnknown,
    PrebootFailed,
    SourceUnreachable,
    StartFailed,
    StartTimeout,
    StopFailed,
    Superseded,
    Suspended,
    VolumeMissing,
)
from ..._power.model.result import Outcome
from .client.frames import ERROR, MESSAGE, UNEXPECTED, error_text, frame

#: What a tenant can do something about, or would ask first, by code.
_REASONS = {
    Suspended.code: "it is suspended",
    LockTimeout.code: "another action of it is queued or under way; wait for its end, or kill it",
    CancelledByKill.code: "it was killed after this was requested; ask again to go on",
    Superseded.code: "another action took it before it was ready",
    PlayersOnline.code: "too many people play on it; ask again later",
    PlayersUnknown.code: "it is unknown how many people play on it",
    CountdownRunning.code: "another action waits for its players already",
    KillUnsettled.code: "the kill was sent, but it is not certain that it stays down; kill it again",
    DefinitionInvalid.code: "its settings cannot be used",
    SourceUnreachable.code: "its settings cannot be read now; ask again later",
    DiskFull.code: "its files take more space than it has",
    VolumeMissing.code: "its files are gone",
    ImageUnavailable.code: "its image cannot be had",
    PrebootFailed.code: "it could not be made ready to start",
    StartFailed.code: "its process did not start, or ended before it was ready",
    StartTimeout.code: "it was not ready in time; it is still up",
    StopFailed.code: "it could not be stopped",
    INTERRUPTED: "the action was cut off",
    EXPIRED: "it waited too long for its turn; ask again",
}


def of_ending(found: Mapping[str, Any], *, whole: bool) -> list[str]:
    """Return the frames that tell of an ended operation, as `operation_view` shows it: the ``whole``, or what anybody may know."""
    number, outcome = str(found["id"]), str(found["outcome"])
    if outcome not in (Outcome.DONE.value, Outcome.UNCHANGED.value):
        general = f"Cannot {found['action']} the server: {_REASONS.get(found.get('code') or '', UNEXPECTED)}"
        return [frame(ERROR, error_text(number, str(found.get("msg") or outcome) if whole else general))]
    told, warnings = [f"{found['action']}: {outcome}"], list(found.get("warnings") or ())
    if whole and found.get("msg"):
        told.append(str(found["msg"]))
    if (found.get("stop") or {}).get("forced"):
        told.append("it did not end by itself and was ended by SIGKILL")
    if warnings and not whole:
        told.append(f"with warnings for those who run the node [{number}]")
    return [frame(MESSAGE, "; ".join(told)), *(frame(MESSAGE, f"warning: {each}") for each in warnings if whole)]
