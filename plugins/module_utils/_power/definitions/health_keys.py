# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of the settings for health checks that containers get by rule; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..model.records import dataclass
from ..model.schema import REQUIRED, KeyLocation, KeySpec, ValueType, read_keys
from .kinds import TEXT, list_of, whole_number
from .selectors import EGG_KEY, IMAGE_KEY, LABEL_KEY, SERVER_KEY, ServerSelector, take_selector

_NANOSECONDS = 10**9
_SECONDS = whole_number(1, 86_400, "a whole number of seconds")
_SELECTORS = (SERVER_KEY, EGG_KEY, IMAGE_KEY, LABEL_KEY)


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
_RULE_KEYS = (*_SELECTORS, *_CHECK_KEYS)


@dataclass(frozen=True)
class HealthRule:
    """A selector of servers and the health check of their containers, as in the body of a create call."""

    servers: ServerSelector
    check: Mapping[str, Any]


def _rule(value: object, place: KeyLocation) -> HealthRule:
    given = read_keys(value, _RULE_KEYS, place).complete(_RULE_KEYS)
    servers = take_selector(given, _SELECTORS, place)
    check: dict[str, Any] = {"Test": list(given["test"])}
    check.update({api: given[key] * unit for key, (api, unit) in _IN_API.items() if given[key] is not None})
    return HealthRule(servers, check)


_IN_API = {
    "interval": ("Interval", _NANOSECONDS),
    "timeout": ("Timeout", _NANOSECONDS),
    "retries": ("Retries", 1),
    "start_period": ("StartPeriod", _NANOSECONDS),
}

HEALTH_KEYS = (
    KeySpec(
        "healthchecks",
        list_of(ValueType("a rule", _rule, _RULE_KEYS), "a list of rules"),
        (),
        "Health checks of containers instead of their images'; the first match counts",
    ),
)
