# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a definition, JSON or YAML, to plain values: maps, lists, text, whole numbers, booleans, null.

Both may come from somebody who means harm or made a mistake: nesting, size after aliases and numbers are bounded, and an error names
line and column but never shows the text, which holds secrets.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from ..model.errors import DefinitionInvalid, MissingLibrary
from ..model.nesting import is_nested_deeper

#: Deeper than any definition, shallow enough for every later reader.
_DEEPEST = 64
#: Values in a definition once its aliases are written out, long text counting as several; a real one has about a hundred.
_MOST_VALUES = 100_000
_TEXT_PER_VALUE = 64
_LONGEST_NUMBER = 400

#: YAML's plain values as its version 1.2 and JSON have them. Version 1.1 would turn 0123, 1.20, 12:30, on and 2024-01-01, which an
#: environment holds as often as not, into something else; here they stay as written. Longer whole numbers are identifiers: text.
_PLAIN = (
    ("null", r"(?:~|null|Null|NULL|)\Z", ("~", "n", "N", "")),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)\Z", tuple("tTfF")),
    ("int", r"-?(?:0|[1-9][0-9]{0,17})\Z", tuple("-0123456789")),
    ("merge", r"<<\Z", ("<",)),
)
_KINDS = ("null", "bool", "int", "str", "seq", "map")
_TAG = "tag:yaml.org,2002:"


def load_text(content: bytes, where: str, *, yaml: bool) -> object:
    """The value that ``content`` writes in UTF-8. Raises `DefinitionInvalid` naming ``where``, `MissingLibrary` for YAML without PyYAML."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _invalid(where, f"it is not UTF-8 text (byte {error.start})") from None
    return _load_yaml(text, where) if yaml else _load_json(text, where)


def _invalid(where: str, reason: str) -> DefinitionInvalid:
    return DefinitionInvalid(f"Cannot read definition {where}: {reason}", where=where)


def _load_json(text: str, where: str) -> object:
    if is_nested_deeper(text, _DEEPEST):
        raise _invalid(where, "it is nested too deeply")
    try:
        return json.loads(text, parse_int=_whole_number, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        # Here and below: dozens of patterns, which only a fault needs.
        from .text_faults import json_fault

        raise _invalid(where, json_fault(error)) from None
    except ValueError as error:
        raise _invalid(where, str(error)) from None
    except RecursionError:
        raise _invalid(where, "it is nested too deeply") from None


def _whole_number(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError(f"it holds a number of {len(digits)} digits; put it in quotes")
    return int(digits)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _load_yaml(text: str, where: str) -> object:
    loader_class, yaml_error = _yaml_loader()
    try:
        _refuse_excess(yaml_events(loader_class, text), where)
        loader = loader_class(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml_error as error:
        from .text_faults import yaml_fault

        raise _invalid(where, yaml_fault(error, text)) from None


def root_node(text: str) -> Any:
    """The node of a YAML text that `load_text` can read; it has what a map loses, such as a key that is written twice."""
    loader = _yaml_loader()[0](text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


@functools.cache
def _yaml_loader() -> tuple[Any, type[Exception]]:
    """A safe loader that knows only the plain values, from libyaml where that is there, and the exception it raises."""
    try:
        import yaml
    except ImportError as error:
        raise MissingLibrary.of("read a definition in YAML", "PyYAML", "python3-yaml", error, instead=", or write JSON") from None
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    known = {tag: base.yaml_constructors[tag] for tag in (None, *(_TAG + kind for kind in _KINDS))}
    loader: Any = type("PlainLoader", (placing(base),), {"yaml_implicit_resolvers": {}, "yaml_constructors": known})
    for kind, pattern, first in _PLAIN:
        loader.add_implicit_resolver(_TAG + kind, re.compile(pattern), first)
    return loader, yaml.YAMLError


def placing(loader_class: Any) -> Any:
    """The loader of PyYAML's as one that says where a value stands that does not fit its tag: such a value meets the library unprepared."""
    from yaml.constructor import ConstructorError

    def construct_object(self: Any, node: Any, deep: bool = False) -> Any:
        try:
            return loader_class.construct_object(self, node, deep)
        except (ValueError, LookupError, AttributeError):
            from .text_faults import ILL_TAGGED

            raise ConstructorError(None, None, ILL_TAGGED, node.start_mark) from None

    return type("PlacingLoader", (loader_class,), {"construct_object": construct_object})


def yaml_events(loader_class: Any, text: str) -> Iterator[Any]:
    """The events of a YAML text, from a loader that is let go of at the end."""
    loader = loader_class(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    finally:
        loader.dispose()


@dataclass
class _Extent:
    """How much a value is with its aliases written out: how many values, and how deep."""

    anchor: str | None
    values: int = 1
    height: int = 1

    def add(self, part: _Extent) -> None:
        """Take ``part`` in as a part of this value."""
        self.values += part.values
        self.height = max(self.height, part.height + 1)


def _refuse_excess(events: Iterable[Any], where: str) -> None:
    """Refuse a document that is too deep or, by aliases of aliases, too large; nothing is built before this is known."""
    whole: dict[str, _Extent] = {}
    within = [_Extent(None)]
    for event in events:
        kind = type(event).__name__
        if kind in ("SequenceStartEvent", "MappingStartEvent"):
            within.append(_Extent(event.anchor))
            part = _Extent(None)
        elif kind in ("SequenceEndEvent", "MappingEndEvent"):
            part = within.pop()
            within[-1].add(part)
        elif kind == "ScalarEvent":
            part = _Extent(event.anchor, 1 + len(event.value) // _TEXT_PER_VALUE)
            within[-1].add(part)
        elif kind == "AliasEvent":
            if event.anchor not in whole:
                from .text_faults import ALIAS, yaml_fault_at

                raise _invalid(where, yaml_fault_at(event.start_mark, ALIAS))
            part = whole[event.anchor]
            within[-1].add(part)
        else:
            continue
        if part.anchor is not None:
            whole[part.anchor] = part
        if len(within) + part.height > _DEEPEST or within[-1].values > _MOST_VALUES:
            raise _invalid(where, f"line {event.start_mark.line + 1}: it is nested too deeply or holds too much")
