# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The path in a rule's ``match``, for files with maps and lists: JSON, YAML, TOML; pure.

==================  ==============================================================================
``a.b``             the key ``b`` of the map below ``a``.
``a[1].b``          the key ``b`` of item 1 of the list ``a``, from 0; also ``a.1.b``.
``a.*.b``           the key ``b`` of every item of the map or list ``a``; also ``a[*].b``.
``a["b.c"].d``      a key with dots, in either quotes; also ``a.b~1c.d``, as in Wings.
==================  ==============================================================================

``~0`` is a tilde. Any other bracket is a part of the key.
"""

from __future__ import annotations

import re
from typing import Union

from ..model.config_rule import ConfigRule
from .rules import ConfigFault

#: A key of a map (digits may be an index, see `index_of`), an item of a list from 0, or None for every value or item.
Step = Union[str, int, None]

_MOST_STEPS = 64
_LONGEST = 1000
_INDEX = re.compile(r"[0-9]+")

_BRACKET = r"""\[(?:([0-9]+)|(\*)|"([^"]*)"|'([^']*)')\]"""
_BRACKETS = re.compile(_BRACKET)
#: A plain part is as short as possible: up to a dot, the end, or brackets before one of these.
_PART = re.compile(rf"""([^.]*?)((?:{_BRACKET})*)(?:\.|\Z)""", re.DOTALL)


def steps_of(rule: ConfigRule) -> tuple[Step, ...]:
    """Return the steps of a rule's path, at least one. Raises `ConfigFault` for a bad path."""
    if len(rule.match) > _LONGEST:
        raise ConfigFault(f"its match has more than {_LONGEST} characters", rule)
    steps: list[Step] = []
    for part in _PART.finditer(rule.match):
        name, brackets = part.group(1, 2)
        if not name and not brackets:
            raise ConfigFault("its match is empty, or has nothing before, behind or between its dots", rule)
        if name:
            steps.append(None if name == "*" else name.replace("~1", ".").replace("~0", "~"))
        for number, every, double, single in _BRACKETS.findall(brackets):
            steps.append(int(number) if number else None if every else double or single)
        if len(steps) > _MOST_STEPS:
            raise ConfigFault(f"its match is a path of more than {_MOST_STEPS} steps", rule)
        ends_in_dot = part.end() > part.end(2)
        if not ends_in_dot:
            break
    return tuple(steps)


def index_of(step: Step) -> int | None:
    """Return the index of a step in a list, or None."""
    if isinstance(step, str):
        return int(step) if _INDEX.fullmatch(step) else None
    return step
