# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of the settings for health checks of containers, and for what follows a failed start; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..model.records import dataclass
from ..model.request import DEFAULT_SETTLE_SECONDS, LONGEST_SETTLE_SECONDS, OnFailedStart
from ..model.schema import REQUIRED, KeyLocation, KeySpec, ValueType
from .kinds import BOOLEAN, ON_FAILED_START, TEXT, list_of, list_of_known, whole_number
from .selectors import ServerSelector, rule_of

_NANOSECONDS = 10**9
_SECONDS = whole_number(1, 86_400, "a whole number of seconds")


def _test(value: object, place: KeyLocation) -> tuple[str, ...]:
    words: tuple[str, ...] = list_of(TEXT, _TEST.words).read(value, place)
    kind, count = words[0] if words else "", len(words)
    if not ((kind == "NONE" and count == 1) or (kind == "CMD-SHELL" and count == 2) or (kind == "CMD" and count > 1)):
        raise place.wrong(value, _TEST.words)
    return words


_TEST = ValueType("a list: CMD and the words of a command, or CMD-SHELL and one script, or only NONE", _test)
_CHECK_KEYS = (
    KeySpec("test", _TEST, REQUIRED, "The check, as in the Docker API; exit code 0 is healthy. `[NONE]` turns off the image's"),
    KeySpec("interval", _SECONDS, None, "Seconds between two checks; unset: the image's, else 30"),
    KeySpec("timeout", _SECONDS, None, "Seconds until a check has failed; unset: the image's, else 30"),
    KeySpec("retries", whole_number(1, 1000), None, "Failed checks in a row that make a server unhealthy; unset: the image's, else 3"),
    KeySpec("start_period", _SECONDS, None, "Seconds after a start in which no failed check counts; unset: the image's, else 0"),
)


@dataclass(frozen=True)
class HealthRule:
    """A selector of servers and the health check of their containers, as in the body of a create call."""

    servers: ServerSelector
    check: Mapping[str, Any]


def _rule(servers: ServerSelector, **given: Any) -> HealthRule:
    check: dict[str, Any] = {"Test": list(given["test"])}
    check.update({api: given[key] * unit for key, (api, unit) in _IN_API.items() if given[key] is not None})
    return HealthRule(servers, check)


_IN_API = {
    "interval": ("Interval", _NANOSECONDS),
    "timeout": ("Timeout", _NANOSECONDS),
    "retries": ("Retries", 1),
    "start_period": ("StartPeriod", _NANOSECONDS),
}

_CHECKS = list_of(rule_of(_rule, _CHECK_KEYS), "a list of rules")
HEALTHCHECKS = "healthchecks"
HEALTH_KEYS = (KeySpec(HEALTHCHECKS, _CHECKS, (), "Health checks of containers instead of their images'; the first match counts"),)

REVERT_RULES = "revert.rules"

_SAYINGS = (
    KeySpec("on_failed_start", ON_FAILED_START, None, "`revert.on_failed_start` for them"),
    KeySpec("revertible", BOOLEAN, None, "`false`: an old version could destroy their data, so they stay down instead; unset: `true`"),
)


@dataclass(frozen=True)
class RevertRule:
    """A selector of servers; None: unset."""

    servers: ServerSelector
    on_failed_start: str | None
    revertible: bool | None


_SETTLE = whole_number(0, LONGEST_SETTLE_SECONDS, "a whole number of seconds")
_RULES = list_of_known(rule_of(RevertRule, _SAYINGS, sets=True), "a list of rules", "a rule")
REVERT_KEYS = (
    KeySpec(
        "revert.on_failed_start",
        ON_FAILED_START,
        OnFailedStart.LEAVE.value,
        "After a start or restart that fails: leave it, or start the previous version again",
    ),
    KeySpec("revert.settle", _SETTLE, DEFAULT_SETTLE_SECONDS, "Seconds that a new version must stay up after it is ready"),
    KeySpec(REVERT_RULES, _RULES, (), "Rules for some servers; for each key the first match counts"),
)
