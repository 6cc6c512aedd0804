# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of a rolling run: outcomes, codes, servers, and numbers in variables; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from ..._power.model.request import DEFAULT_PRIORITY, PowerAction
from ..._power.model.result import Outcome
from ..._power.model.server import PowerState

#: The outcomes of nodes, and two of the rolling run: the outcome is unknown; its turn never came.
DONE, UNCHANGED, SKIPPED = Outcome.DONE.value, Outcome.UNCHANGED.value, Outcome.SKIPPED.value
REFUSED, CANCELLED, FAILED = Outcome.REFUSED.value, Outcome.CANCELLED.value, Outcome.FAILED.value
UNKNOWN, NOT_DONE = "unknown", "not_done"
OUTCOMES = (DONE, UNCHANGED, SKIPPED, REFUSED, CANCELLED, FAILED, UNKNOWN, NOT_DONE)
GOOD = (DONE, UNCHANGED, SKIPPED)
#: These use up the failure budget.
FAILURES = (REFUSED, CANCELLED, FAILED, UNKNOWN)

#: The rolling run's own codes; all others come from the nodes.
NODE_UNREACHABLE = "node_unreachable"
NO_ANSWER = "no_answer"
DID_NOT_STAY_UP = "did_not_stay_up"
CRASHED = "crashed"
BEFORE_BATCH_FAILED = "before_batch_failed"
STILL_IN_FLIGHT = "still_in_flight"
DEADLINE = "deadline"

OFFLINE = PowerState.OFFLINE.value
BOOTS = tuple(action.value for action in PowerAction if action.boots)
UP = tuple(state.value for state in PowerState if state is not PowerState.OFFLINE)

_FLAGS = {**dict.fromkeys(("true", "yes", "on", "1"), True), **dict.fromkeys(("false", "no", "off", "0", "", "none"), False)}
_PERCENT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*%")


class RolloutError(Exception):
    """The rolling run cannot begin or continue; ``code`` is stable, like the nodes' codes."""

    def __init__(self, message: str, code: str = "settings_invalid") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Candidate:
    """A server of a node before the rolling run."""

    node: str
    server: str
    name: str = ""
    state: str = ""
    priority: int = DEFAULT_PRIORITY
    suspended: bool = False
    egg: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    #: Whether the action applies in any state, although the selection has states.
    any_state: bool = False
    #: The run whose request its node may still have; empty: none.
    asked_by: str = ""
    #: None: unknown.
    outdated: bool | None = False
    #: Whether an earlier part of the run tried it: the selection may no longer fit.
    again: bool = False
    #: Why its facts are unknown, as a code and a sentence; empty: they are known.
    unseen_code: str = ""
    unseen_reason: str = ""


@dataclass(frozen=True)
class Amount:
    """A number of things, or a percentage."""

    count: int = 0
    percent: float | None = None

    def of(self, total: int) -> int:
        """Return the number of ``total``, rounded down."""
        return self.count if self.percent is None else int(Fraction(str(self.percent)) * total / 100)


def parse_amount(name: str, value: object) -> Amount:
    """Read a whole number, or text with a percent sign. Raises `RolloutError` naming the variable."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Amount(count=value)
    text = value.strip() if isinstance(value, str) else ""
    if re.fullmatch(r"\d{1,9}", text):
        return Amount(count=int(text))
    match = _PERCENT.fullmatch(text)
    if match is None or float(match[1]) > 100:
        a_list = ", or a list of these" if name == "serial" else ""
        raise RolloutError(f'Cannot use rollout_{name}={value!r}: expected a whole number from 0, or a percentage such as "10%"{a_list}')
    return Amount(percent=float(match[1]))


def parse_count(name: str, value: object) -> int:
    """Read a whole number from 0. Raises `RolloutError` naming the variable."""
    amount = parse_amount(name, value)
    if amount.percent is not None:
        raise RolloutError(f"Cannot use rollout_{name}={value!r}: expected a whole number from 0")
    return amount.count


def parse_seconds(name: str, value: object) -> float:
    """Read seconds from 0. Raises `RolloutError` naming the variable."""
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise RolloutError(f"Cannot use rollout_{name}={value!r}: expected seconds, a number from 0")
    return seconds


def parse_flag(name: str, value: object) -> bool:
    """Read a boolean, or its text. Raises `RolloutError` naming the variable."""
    found = _FLAGS.get(str(value).strip().lower())
    if found is None:
        raise RolloutError(f"Cannot use rollout_{name}={value!r}: expected true or false")
    return found


def one_of(name: str, value: object, choices: Sequence[str]) -> str:
    """Read one of ``choices``. Raises `RolloutError` naming the variable and all choices."""
    if not isinstance(value, str) or value not in choices:
        raise RolloutError(f"Cannot use rollout_{name}={value!r}: expected one of {', '.join(choices)}")
    return value


def text_list(name: str, value: object) -> tuple[str, ...]:
    """Read a list of text, or one text with commas. Raises `RolloutError` naming the variable."""
    each = value.split(",") if isinstance(value, str) else value
    if not isinstance(each, Sequence) or not all(isinstance(item, str) for item in each):
        raise RolloutError(f"Cannot use rollout_{name}={value!r}: expected a list of text (put numbers in quotes)")
    return tuple(item.strip() for item in each if item.strip())
