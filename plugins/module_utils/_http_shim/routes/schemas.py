# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON schemas of requests and replies; pure. Tests compare them with real replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..._power.events.event import EventType
from ..._power.host.supervisor_record import PAUSES
from ..._power.model.players import COUNTING, EARLIEST_MARK_SECONDS, MOST_MARKS, WAITING, WARN_MESSAGE, OnMaxDelay
from ..._power.model.request import POWER_ACTIONS, OnFailedStart, PowerAction, WaitFor
from ..._power.model.result import Outcome
from ..._power.model.server import PowerState
from ..._power.model.supervision import Hang, SupervisionState, Verdict
from ..._power.options import POWER_OPTIONS
from .event_followers import CURSOR_PATTERN

Schema = Mapping[str, Any]


def _number_option(name: str, description: str) -> dict[str, Any]:
    option = POWER_OPTIONS[name]
    default = {} if option.default is None else {"default": option.default}
    return {"type": ["integer", "null"], "minimum": option.least, "maximum": option.most, **default, "description": description}


def _object(required: Sequence[str] = (), description: str = "", /, **properties: Schema) -> dict[str, Any]:
    return {
        "type": "object",
        **({"description": description} if description else {}),
        **({"required": required} if required else {}),
        "properties": properties,
    }


def _object_or_null(required: Sequence[str], description: str, /, **properties: Schema) -> dict[str, Any]:
    return {**_object(required, description, **properties), "type": ["object", "null"]}


def list_of(schema: Schema) -> dict[str, Any]:
    return {"type": "array", "items": schema}


ERROR = _object(
    ["error"],
    error={"type": "string"},
    request_id={"type": "string", "format": "uuid"},
    code={"type": "string", "description": "if an option of this collection is refused, or events are disabled"},
)
_STATES = [state.value for state in PowerState]
_WAITS = [each.value for each in WaitFor]
_WAIT_FOR_PLAYERS: dict[str, Schema] = {
    "phase": {"enum": [WAITING, COUNTING]},
    "due": {"type": "string", "description": "when the wait or the countdown ends"},
}
OPERATION = _object(
    ["id", "server", "action", "outcome", "progress", "operation"],
    id={"type": "string"},
    server={"type": "string", "format": "uuid"},
    short_id={"type": "string"},
    name={"type": "string"},
    action={"enum": [action.value for action in PowerAction]},
    origin={"type": "string"},
    reason={"type": "string"},
    progress={"enum": ["accepted", "begun", "ended"]},
    outcome={"enum": [*(outcome.value for outcome in Outcome), None], "description": "null until it ends"},
    code={"type": "string"},
    msg={"type": "string"},
    changed={"type": "boolean"},
    state_before={"enum": _STATES},
    state={"enum": _STATES},
    stop={"type": "object"},
    countdown=_object((), "while it waits for players or warns them", **_WAIT_FOR_PLAYERS),
    awaits={"enum": _WAITS, "description": "the state that it waits for after a start"},
    players={"type": "object", "description": "the players when the wait ended"},
    player_wait={"type": "object", "description": "how long it waited for players, and which warnings they got"},
    run={"type": "object", "description": "the run that it started or found"},
    lock={"type": "object"},
    hooks=list_of({"type": "object", "description": "a hook that ran"}),
    phases={
        "description": "the start of each phase, in seconds since the action began",
        **list_of(_object(phase={"type": "string"}, at={"type": "number"})),
    },
    downtime=_object(
        (),
        "from the end of the old run to the start of the next, and until that is ready",
        seconds={"type": "number"},
        ready_seconds={"type": "number"},
        since={"type": "string"},
    ),
    operation={"type": "object", "description": "its id and times; deadline is the end of its wait for its turn and the lock"},
)
_NUMBER = {"type": "integer", "minimum": 0}
_MAYBE_TEXT, _MAYBE_NUMBER = {"type": ["string", "null"]}, {"type": ["integer", "null"]}
_SUPERVISION = _object_or_null(
    ["state", "running", "consecutive_crashes", "crashes_today"],
    "the end of its last run, and what the supervisor does about it; null if unknown",
    state={"enum": [*(state.value for state in SupervisionState), "off"]},
    why={**_MAYBE_TEXT, "description": "what disables supervision"},
    running={"type": ["boolean", "null"], "description": "whether a supervisor runs on this node"},
    paused={"enum": [*PAUSES, None], "description": "why the supervisor starts nothing"},
    verdict={"enum": [*(verdict.value for verdict in Verdict if verdict is not Verdict.PENDING), None]},
    exit_code=_MAYBE_NUMBER,
    oom_killed={"type": ["boolean", "null"]},
    consecutive_crashes={**_NUMBER, "description": "crashes without a long run between them"},
    crashes_today={**_NUMBER, "description": "in the last 24 hours"},
    restarts_unhealthy={"type": "boolean", "description": "whether the supervisor restarts it while it hangs"},
    hang={"enum": [*(why.value for why in Hang), None], "description": "why it is left up although it is unhealthy"},
    **dict.fromkeys(("ended_at", "next_at", "code", "msg"), _MAYBE_TEXT),
)
_TEXTS = {"type": ["array", "null"], "items": {"type": "string"}}
_OUTDATED = _object_or_null(
    ["is_outdated", "differs", "restart", "in_place", "next_start", "why"],
    "whether the container differs from the definition; null without a container",
    is_outdated={"type": ["boolean", "null"], "description": "null if unknown"},
    differs={**_TEXTS, "description": "the keys that differ; null if unknown"},
    restart={**_TEXTS, "description": "keys that need a restart"},
    in_place={**_TEXTS, "description": "limits that a sync updates while it runs"},
    next_start={**_TEXTS, "description": "keys that the next start applies"},
    failed={"type": ["boolean", "null"], "description": "this definition with this image failed before; null if unknown"},
    why=_MAYBE_TEXT,
)
_COUNTDOWN = _object_or_null(
    ["action", "phase", "due"],
    "the action that waits for players or warns them",
    action={"enum": [action.value for action in PowerAction if action.traits.affects_players]},
    **_WAIT_FOR_PLAYERS,
    **{name: {"type": "string"} for name in ("origin", "reason", "since", "operation")},
)
_PLAYERS = _object_or_null(
    ["online", "max", "unknown_reason"],
    "the players, a few seconds old at most; null if the server is down or has no game profile",
    online={**_MAYBE_NUMBER, "description": "null if unknown"},
    max=_MAYBE_NUMBER,
    unknown_reason=_MAYBE_TEXT,
)
_FREEZE: dict[str, Schema] = {
    **dict.fromkeys(("until", "at", "origin", "reason"), _MAYBE_TEXT),
    "is_frozen": {"type": ["boolean", "null"], "description": "null if it is unknown whether there is a freeze"},
    "supervisor": {"type": ["boolean", "null"], "description": "whether the supervisor starts nothing, too"},
    "node": {"type": ["boolean", "null"], "description": "whether the whole node is frozen"},
}
SERVER = _object(
    ["state", "is_suspended", "utilization", "configuration"],
    state={"enum": _STATES},
    is_suspended={"type": "boolean"},
    utilization=_object(
        ["memory_bytes", "memory_limit_bytes", "cpu_absolute", "network", "uptime", "state", "disk_bytes"],
        memory_bytes=_NUMBER,
        memory_limit_bytes=_NUMBER,
        cpu_absolute={"type": "number", "minimum": 0, "description": "percent of one core"},
        network=_object(rx_bytes=_NUMBER, tx_bytes=_NUMBER),
        uptime={**_NUMBER, "description": "milliseconds"},
        state={"enum": _STATES},
        disk_bytes=_NUMBER,
    ),
    configuration={"type": "object", "required": ["uuid", "meta", "suspended"]},
    outdated=_OUTDATED,
    supervision=_SUPERVISION,
    countdown=_COUNTDOWN,
    freeze=_object_or_null(list(_FREEZE), "null if there is none", **_FREEZE),
    players=_PLAYERS,
    wait_for={**list_of({"enum": _WAITS}), "description": "what a power request may wait for"},
)
_TEXT = {"type": "string"}
#: Events in a reply by default and at most, and the longest wait in seconds.
EVENTS_LIMIT, MOST_EVENTS, LONGEST_EVENT_WAIT = 100, 1000, 60
EVENTS_QUERY: dict[str, Schema] = {
    "after": {
        "type": "string",
        "pattern": CURSOR_PATTERN,
        "default": "",
        "description": "the cursor of an earlier answer; now: only new events",
    },
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST_EVENTS, "default": EVENTS_LIMIT},
    "wait": {"type": "integer", "minimum": 0, "maximum": LONGEST_EVENT_WAIT, "default": 0},
}
_EVENT = _object(
    ["specversion", "id", "source", "type", "time", "datacontenttype", "sequence", "data"],
    "a CloudEvent 1.0",
    type={"enum": [each.value for each in EventType]},
    subject={"type": "string", "format": "uuid", "description": "the server of the event"},
    **dict.fromkeys(("specversion", "id", "source", "time", "datacontenttype"), _TEXT),
    sequence={**_TEXT, "description": "its number in the outbox; sorts as text"},
    data={"type": "object"},
)
EVENTS = _object(
    ["cursor", "dropped", "reset", "events"],
    cursor={**_TEXT, "description": "for the next request"},
    dropped={**_NUMBER, "description": "how many events after the cursor were dropped"},
    reset={"type": "boolean", "description": "whether the outbox is new since the cursor; all its events follow"},
    events=list_of(_EVENT),
)
LISTED = {
    **SERVER,
    "properties": {
        **{name: schema for name, schema in SERVER["properties"].items() if name != "players"},
        "state": {"enum": [*_STATES, None], "description": "null if it cannot be read"},
        "utilization": {**SERVER["properties"]["utilization"], "type": ["object", "null"]},
        "code": {**_TEXT, "description": "why it cannot be read"},
        "msg": {**_TEXT, "description": "the same in a sentence"},
    },
}
SYSTEM = _object(
    ["version"],
    version=_TEXT,
    **dict.fromkeys(("architecture", "kernel_version", "os"), _TEXT),
    cpu_count=_NUMBER,
    docker={"type": "object", "required": ["version", "cgroups", "containers", "storage", "runc"]},
    system=_object(
        **dict.fromkeys(("architecture", "kernel_version", "os", "os_type"), _TEXT),
        **dict.fromkeys(("cpu_threads", "memory_bytes"), _NUMBER),
    ),
)
POWER = _object(
    ["action"],
    action={"enum": [action.value for action in POWER_ACTIONS]},
    wait_seconds={"type": ["integer", "null"], "default": 30, "description": "0 to 300; anything else counts as 30"},
    wait_for={
        "enum": [*_WAITS, None],
        "default": POWER_OPTIONS["wait_for"].default,
        "description": "when a start or restart counts as done",
    },
    wait_timeout=_number_option("wait_timeout", "seconds that this may take after the start"),
    on_failed_start={
        "enum": [*(each.value for each in OnFailedStart), None],
        "description": "after a start that fails: leave it, or start the previous version; the default is the node's",
    },
    settle=_number_option("settle", "seconds that the new version must stay up for that; the default is the node's"),
    players_at_most=_number_option("players_at_most", "wait until at most this many play"),
    max_delay=_number_option("max_delay", "wait for players at most this many seconds after the request"),
    on_max_delay={"enum": [*(each.value for each in OnMaxDelay), None], "description": "what happens after that time"},
    warn={
        "type": ["array", "null"],
        "items": {"type": "integer", "minimum": 1, "maximum": EARLIEST_MARK_SECONDS},
        "maxItems": MOST_MARKS,
        "description": "warn players this many seconds before the action",
    },
    warn_message={"type": ["string", "null"], "default": WARN_MESSAGE},
)
FREEZE = _object(
    ["until", "reason"],
    until={"type": "string", "format": "date-time", "description": "at most a week ahead"},
    reason={"type": "string", "description": "others read it when their action is refused"},
    supervisor={"type": ["boolean", "null"], "default": False, "description": "the supervisor starts nothing, too"},
)
COMMANDS = _object(commands=_TEXTS)
DENIED = _object(jtis=_TEXTS)
LINES = _object(["data"], data=_TEXTS)
