# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The meaning of a rule's ``match`` and value in XML; pure.

==============================================  =====================================================================
``Root.Network.Port``                           every element ``Port`` in every ``Network`` of the root element ``Root``.
``Root.Worlds.*``                               every element in ``Worlds``.
``Root.property[@name='Port']``                 every ``property`` whose attribute ``name`` is ``Port``.
``Root.World[@id].Seed``                        in every ``World`` with an attribute ``id``.
``Root.World[Name='Hub'].Seed``                 in every ``World`` whose child ``Name`` has the text ``Hub``; ``[Name]``: any text.
``Root.World[2]``                               the second; ``[-1]``: the last.
``Root.property[@name='Port'].@value``          that attribute, not the element's text.
==============================================  =====================================================================

A value ``[value='26900']`` sets the attribute ``value`` instead of the text, as in Wings. Dots within brackets are no steps; ``/``
may replace the dot between two. A name without a prefix fits any prefix.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Union

from ..model.config_rule import ConfigRule
from ..model.records import dataclass
from .rules import KEEP, ConfigFault, value_text, wanted

EVERY = "*"
#: XML's white space; a filter ignores it around a text.
BLANKS = " \t\r\n"
_MOST_STEPS = 64
_LONGEST = 1000
_NAME = r"[^\W\d][\w:-]*"
_STEP = re.compile(rf"(\*|{_NAME})((?:\[[^\]'\"]*(?:'[^']*'|\"[^\"]*\")?\])*)")
_FILTER = re.compile(rf"\[(?:(-?[0-9]{{1,9}})|(@?)({_NAME})(?:=(?:'([^']*)'|\"([^\"]*)\"))?)\]")
_FILTERS = re.compile(r"\[[^\]'\"]*(?:'[^']*'|\"[^\"]*\")?\]")
_ATTRIBUTE = re.compile(rf"@({_NAME})\Z")
_ATTRIBUTE_VALUE = re.compile(r"\[([^\W\d][\w:.-]*)='(.*)'\]", re.DOTALL)


@dataclass(frozen=True)
class ValueFilter:
    """Elements with an attribute or a child element of this name and, unless None, this value or text."""

    is_attribute: bool
    name: str
    value: str | None


#: A number is the index of the element among those found in one parent, from 0; -1 is the last.
Filter = Union[ValueFilter, int]


@dataclass(frozen=True)
class PathStep:
    """The children of this name (or `EVERY`) that pass all filters in turn."""

    name: str
    filters: tuple[Filter, ...]


@dataclass(frozen=True)
class XmlTarget:
    """The place of a rule's value: a path, and an attribute's name, or None for the text. ``rule`` has the bare value."""

    steps: tuple[PathStep, ...]
    attribute: str | None
    rule: ConfigRule


def place_of(rule: ConfigRule) -> XmlTarget:
    """Return the place of ``rule``. Raises `ConfigFault` for a match that is no path."""
    path, position = rule.match, 0
    if len(path) > _LONGEST:
        raise ConfigFault(f"its match has more than {_LONGEST} characters", rule)
    steps: list[PathStep] = []
    while True:
        attribute = _ATTRIBUTE.match(path, position) if steps else None
        if attribute is not None:
            return XmlTarget(tuple(steps), attribute.group(1), rule)
        found = _STEP.match(path, position)
        if found is None or path[found.end() : found.end() + 1] not in ("", ".", "/"):
            raise ConfigFault("its match is not a path like Root.Element, Root.Element[@name='value'] or Root.Element.@attribute", rule)
        steps.append(PathStep(found.group(1), tuple(_filter(text, rule) for text in _FILTERS.findall(found.group(2)))))
        if len(steps) > _MOST_STEPS:
            raise ConfigFault(f"its match is a path of more than {_MOST_STEPS} steps", rule)
        if found.end() == len(path):
            return _element_place(tuple(steps), rule)
        position = found.end() + 1


def _element_place(steps: tuple[PathStep, ...], rule: ConfigRule) -> XmlTarget:
    """Return an element's place; the value may name an attribute of it."""
    found = _ATTRIBUTE_VALUE.fullmatch(rule.replace_with) if isinstance(rule.replace_with, str) else None
    if found is None:
        return XmlTarget(steps, None, rule)
    return XmlTarget(steps, found.group(1), dataclasses.replace(rule, replace_with=found.group(2)))


def _filter(text: str, rule: ConfigRule) -> Filter:
    found = _FILTER.fullmatch(text)
    if found is None:
        raise ConfigFault("its match has brackets other than [@name='value'], [@name], [name='text'], [name] and [1]", rule)
    number, at, name, single, double = found.groups()
    if number is not None:
        index = int(number)
        return index - 1 if index > 0 else index
    return ValueFilter(bool(at), name, single if single is not None else double)


def is_named(name: str, path_name: str) -> bool:
    """Tell whether a path's name fits an element: it is equal, `EVERY`, or equal without any prefix."""
    return path_name in (EVERY, name) or (":" not in path_name and name.rpartition(":")[2] == path_name)


def steps_afterwards(place: XmlTarget) -> tuple[PathStep, ...] | None:
    """Return the path after the rule's change, None if the same. Raises `ConfigFault` for a position behind a changing filter."""
    depth = len(place.steps) - (1 if place.attribute is not None else 2)
    if depth < 0:
        return None
    filters: list[Filter] = []
    turned = False
    for each in place.steps[depth].filters:
        if isinstance(each, int):
            if turned:
                raise ConfigFault("its match counts elements after a filter that its own value changes; count first", place.rule)
            filters.append(each)
            continue
        value = _written_over(each, place)
        turned = turned or value is not None
        filters.append(each if value is None else dataclasses.replace(each, value=value))
    if not turned:
        return None
    return (*place.steps[:depth], PathStep(place.steps[depth].name, tuple(filters)), *place.steps[depth + 1 :])


def _written_over(each: ValueFilter, place: XmlTarget) -> str | None:
    """Return the new value that a filter will see, or None if it is unaffected or unchanged."""
    if each.is_attribute:
        is_it = each.name == place.attribute
    else:
        name = place.steps[-1].name
        is_it = place.attribute is None and (is_named(each.name, name) or is_named(name, each.name))
    value = wanted(place.rule, each.value) if is_it and each.value is not None else KEEP
    if value is KEEP:
        return None
    text = value_text(value)
    return (text if each.is_attribute else text.strip(BLANKS)) if text != each.value else None
