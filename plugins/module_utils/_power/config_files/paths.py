# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The path that a rule's ``match`` is in files with maps and lists: JSON, YAML, TOML; pure.

==================  ==============================================================================
``a.b``             the key ``b`` of the map below ``a``
``a[1].b``          the same of the second item of the list ``a``; also written ``a.1.b``
``a.*.b``           the key ``b`` of every item of the map or list ``a``; also written ``a[*].b``
``a["b.c"].d``      a key with dots, in quotes of either kind; also written ``a.b~1c.d``, as in Wings
==================  ==============================================================================

``~0`` is a tilde. A bracket that holds none of these is a part of the key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Union

from ..definitions.definition import ConfigRule
from .rules import ConfigFault


@dataclass(frozen=True)
class Key:
    """A key of a map. Of a list, where it is all digits, an index: see `index_of`."""

    name: str


@dataclass(frozen=True)
class Index:
    """An item of a list, from 0."""

    number: int


@dataclass(frozen=True)
class Every:
    """Every value of a map, every item of a list."""


Step = Union[Key, Index, Every]

#: More than any file has levels.
_MOST_STEPS = 64
#: Characters.
_LONGEST = 1000
_INDEX = re.compile(r"[0-9]+")

_BRACKET = r"""\[(?:([0-9]+)|(\*)|"([^"]*)"|'([^']*)')\]"""
_BRACKETS = re.compile(_BRACKET)
#: A plain part is as short as it can be: up to a dot, the end, or brackets that only such may follow.
_PART = re.compile(rf"""([^.]*?)((?:{_BRACKET})*)(?:\.|\Z)""", re.DOTALL)


def steps_of(rule: ConfigRule) -> tuple[Step, ...]:
    """The way from the whole document to what ``rule`` means; at least one step. Raises `ConfigFault` for a path that is none."""
    path, position = rule.match, 0
    if len(path) > _LONGEST:
        raise ConfigFault(f"its match has more than {_LONGEST} characters", rule)
    steps: list[Step] = []
    while True:
        part = _PART.match(path, position)
        if part is None:
            raise ConfigFault("its match is not a path", rule)
        steps += _steps(part.group(1), part.group(2), rule)
        if len(steps) > _MOST_STEPS:
            raise ConfigFault(f"its match is a path of more than {_MOST_STEPS} steps", rule)
        ends_in_dot = part.end() > part.end(2)
        if not ends_in_dot:
            return tuple(steps)
        position = part.end()


def _steps(name: str, brackets: str, rule: ConfigRule) -> list[Step]:
    """The steps of one part between dots: a key, and what stands in brackets behind it."""
    if not name and not brackets:
        raise ConfigFault("its match is empty, or has nothing before, behind or between its dots", rule)
    steps: list[Step] = []
    if name:
        steps.append(Every() if name == "*" else Key(name.replace("~1", ".").replace("~0", "~")))
    for number, every, double, single in _BRACKETS.findall(brackets):
        if number:
            steps.append(Index(int(number)))
        else:
            steps.append(Every() if every else Key(double or single))
    return steps


def index_of(step: Step) -> int | None:
    """Return the index that a step means in a list, None where it means none."""
    if isinstance(step, Index):
        return step.number
    if isinstance(step, Key) and _INDEX.fullmatch(step.name):
        return int(step.name)
    return None
