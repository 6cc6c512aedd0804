# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of the settings that say which servers are supervised and how, and the rules among them; pure.

A key that is unset here is answered by Wings' own one, where Wings has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..model.schema import KeyLocation, KeySpec, Mismatch, ValueType, read_keys
from ..model.server import parse_uuid
from ..model.supervision import Limits
from .kinds import BOOLEAN, FILLED_TEXT, SCALAR_TEXT, TEXT_OR_NUMBER, list_of, map_of, one_of, whole_number
from .stop_way import LONGEST_STOP_SECONDS

RESTART, LEAVE = "restart", "leave"

_CLEAN_EXIT = one_of(RESTART, LEAVE)
_MAX_RESTARTS = whole_number(0, 1000)
_RESET_AFTER = whole_number(1, LONGEST_STOP_SECONDS, "a whole number of seconds")

_SELECTORS = (
    KeySpec("server", FILLED_TEXT, None, "Name or UUID of the server it is for"),
    KeySpec("egg", TEXT_OR_NUMBER, "", "UUID of the egg whose servers it is for"),
    KeySpec("label", map_of(SCALAR_TEXT, "a map of text"), {}, "Labels that a server it is for has, all of them"),
)
_SAYINGS = (
    KeySpec("supervise", BOOLEAN, None, "Whether they are supervised"),
    KeySpec("clean_exit", _CLEAN_EXIT, None, "As `supervisor.clean_exit`, for them"),
    KeySpec("max_restarts", _MAX_RESTARTS, None, "As `supervisor.max_restarts`, for them"),
    KeySpec("reset_after", _RESET_AFTER, None, "As `supervisor.reset_after`, for them"),
)
_RULE_KEYS = (*_SELECTORS, *_SAYINGS)


@dataclass(frozen=True)
class SupervisorRule:
    """One rule: the servers it is for, which have everything of it that is given, and what it says of them; None where it says nothing.

    ``server`` is a UUID in lower case or a name, ``egg`` in lower case.
    """

    server: str | None
    egg: str
    label: Mapping[str, str]
    supervise: bool | None
    clean_exit: str | None
    max_restarts: int | None
    reset_after: int | None


def _rule(value: object, place: KeyLocation) -> SupervisorRule:
    given = read_keys(value, _RULE_KEYS, place).complete(_RULE_KEYS)
    server, egg = given["server"], given["egg"].strip().lower()
    if not (server or egg or given["label"]):
        raise Mismatch(place.key, f"says of no server that it is for it, expected one or more of {_names(_SELECTORS)}")
    if all(given[key.name] is None for key in _SAYINGS):
        raise Mismatch(place.key, f"says nothing of the servers it is for, expected one or more of {_names(_SAYINGS)}")
    return SupervisorRule(**{**given, "server": server and (parse_uuid(server) or server.strip()), "egg": egg})


def _names(keys: tuple[KeySpec, ...]) -> str:
    *names, last = (key.name for key in keys)
    return f"{', '.join(names)} and {last}"


_RULES = list_of(ValueType("a rule", _rule, _RULE_KEYS), "a list of rules")
_OF_WINGS = "system.crash_detection"

SUPERVISOR_KEYS = (
    KeySpec(
        "supervisor.enabled",
        BOOLEAN,
        None,
        f"Supervise servers of which neither a rule nor the definition says whether; unset: `{_OF_WINGS}.enabled`",
        "supervisor_enabled",
    ),
    KeySpec(
        "supervisor.clean_exit",
        _CLEAN_EXIT,
        None,
        f"What is done after exit code 0; unset: `{_OF_WINGS}.detect_clean_exit_as_crash`",
        "supervisor_clean_exit",
    ),
    KeySpec(
        "supervisor.max_restarts",
        _MAX_RESTARTS,
        Limits.max_restarts,
        "Starts after crashes in a row until it has given up; from then on it is tried once an hour",
        "supervisor_max_restarts",
    ),
    KeySpec(
        "supervisor.reset_after",
        _RESET_AFTER,
        int(Limits.reset_after),
        "Seconds: after a run this long, the next crash is the first in a row",
        "supervisor_reset_after",
    ),
    KeySpec("supervisor.rules", _RULES, (), "Rules for some servers: for each thing, the first that says it counts", "supervisor_rules"),
)

#: Wings' keys that count where ours are unset. The second is true by default in Wings, which writes it into its file.
WINGS_CRASH_KEYS = (
    KeySpec(f"{_OF_WINGS}.enabled", BOOLEAN, True, "Counts where `supervisor.enabled` is unset", "crash_detection_enabled"),
    KeySpec(
        f"{_OF_WINGS}.detect_clean_exit_as_crash",
        BOOLEAN,
        False,
        "Counts where `supervisor.clean_exit` is unset; true: restart, false: leave",
        "clean_exit_is_crash",
    ),
)
