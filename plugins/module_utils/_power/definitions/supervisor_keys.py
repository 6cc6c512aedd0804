# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of the settings for supervision, and their rules; pure.

If a key is unset, the key of Wings counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..model.schema import KeyLocation, KeySpec, Mismatch, ValueType, read_keys
from ..model.supervision import Limits
from .kinds import BOOLEAN, list_of, one_of, whole_number
from .selectors import EGG_KEY, LABEL_KEY, SERVER_KEY, ServerSelector, names_of, take_selector
from .stop_way import LONGEST_STOP_SECONDS

RESTART, LEAVE = "restart", "leave"

_CLEAN_EXIT = one_of(RESTART, LEAVE)
_MAX_RESTARTS = whole_number(0, 1000)
_RESET_AFTER = whole_number(1, LONGEST_STOP_SECONDS, "a whole number of seconds")

_SELECTORS = (SERVER_KEY, EGG_KEY, LABEL_KEY)
_SAYINGS = (
    KeySpec("supervise", BOOLEAN, None, "Supervise them"),
    KeySpec("clean_exit", _CLEAN_EXIT, None, "`supervisor.clean_exit` for them"),
    KeySpec("max_restarts", _MAX_RESTARTS, None, "`supervisor.max_restarts` for them"),
    KeySpec("reset_after", _RESET_AFTER, None, "`supervisor.reset_after` for them"),
)
_RULE_KEYS = (*_SELECTORS, *_SAYINGS)


@dataclass(frozen=True)
class SupervisorRule:
    """One rule: the servers it is for, and what it says of them; None where it says nothing."""

    servers: ServerSelector
    supervise: bool | None
    clean_exit: str | None
    max_restarts: int | None
    reset_after: int | None


def _rule(value: object, place: KeyLocation) -> SupervisorRule:
    given = read_keys(value, _RULE_KEYS, place).complete(_RULE_KEYS)
    servers = take_selector(given, _SELECTORS, place)
    if all(said is None for said in given.values()):
        raise Mismatch(place.key, f"says nothing of the servers it is for, expected one or more of {names_of(_SAYINGS)}")
    return SupervisorRule(servers, **given)


_RULES = list_of(ValueType("a rule", _rule, _RULE_KEYS), "a list of rules")
_OF_WINGS = "system.crash_detection"

SUPERVISOR_KEYS = (
    KeySpec(
        "supervisor.enabled",
        BOOLEAN,
        None,
        f"Supervise servers without a rule or key of their own; unset: `{_OF_WINGS}.enabled`",
        "supervisor_enabled",
    ),
    KeySpec(
        "supervisor.clean_exit",
        _CLEAN_EXIT,
        None,
        f"After exit code 0; unset: `{_OF_WINGS}.detect_clean_exit_as_crash`",
        "supervisor_clean_exit",
    ),
    KeySpec(
        "supervisor.max_restarts",
        _MAX_RESTARTS,
        Limits.max_restarts,
        "Starts after consecutive crashes; then one an hour",
        "supervisor_max_restarts",
    ),
    KeySpec(
        "supervisor.reset_after",
        _RESET_AFTER,
        int(Limits.reset_after),
        "Seconds of a run that reset the count of consecutive crashes",
        "supervisor_reset_after",
    ),
    KeySpec("supervisor.rules", _RULES, (), "Rules for some servers; for each key the first match counts", "supervisor_rules"),
)

#: Wings' keys that count where ours are unset. The second is true by default in Wings, which writes it into its file.
WINGS_CRASH_KEYS = (
    KeySpec(f"{_OF_WINGS}.enabled", BOOLEAN, True, "Counts if `supervisor.enabled` is unset", "crash_detection_enabled"),
    KeySpec(
        f"{_OF_WINGS}.detect_clean_exit_as_crash",
        BOOLEAN,
        False,
        "Counts if `supervisor.clean_exit` is unset; true: restart, false: leave",
        "clean_exit_is_crash",
    ),
)
