# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of JSON and YAML texts, and their places; pure. Fixed words only: messages of parsers may quote secrets."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from ..model.errors import DefinitionInvalid, MissingLibrary
from ..model.records import dataclass
from ..model.schema import is_nested_deeper

#: An alias of an anchor that is missing or incomplete.
ALIAS = "a name after an asterisk has no anchor before it; quote it if it is text"

#: `placing` says this of a value that does not fit its tag.
ILL_TAGGED = "not what its tag says"

#: Parts of a parser's message, and our words for them. The first match counts. ``{begin}`` is the first line of the wrong value.
_YAML = tuple(
    (re.compile(said), words)
    for said, words in (
        (r"found a tab character|found character '\\t'", "a tab stands where spaces indent"),
        ("cannot start any token", "a value cannot begin with this character; put it in quotes"),
        (
            "mapping values are not allowed",
            "a mapping value is not allowed here; quote text that holds a colon, and look at the indentation and at the line before",
        ),
        ("sequence entries are not allowed", "a list item is not allowed here; begin the list on a line of its own"),
        ("mapping keys are not allowed", "a key after a question mark is not allowed here; quote text that begins with one"),
        ("quoted scalar.*end of stream", "a quote is never closed"),
        ("quoted scalar.*document (indicator|separator)", "a quote is not closed before the document ends"),
        ("could not find expected ':'", "a key has no colon, or the line is not indented as a part of the value before it"),
        (r"expected ',' or '\]'", "a comma or a closing bracket is missing in the list that begins in line {begin}"),
        (r"expected ',' or '\}'", "a comma or a closing brace is missing in the map that begins in line {begin}"),
        ("node content", "a bracket, a brace or a comma stands where a value is expected"),
        ("unknown escape character", "text in double quotes has a backslash that begins no known escape; write two, or use single quotes"),
        ("hexa?decimal|escape code", "an escape in double quotes lacks its digits, or means no character"),
        ("undefined alias", ALIAS),
        ("duplicate anchor", "an anchor is given twice"),
        ("recursive", "a value contains itself"),
        ("constructor for the tag", "a tag is not known here; quote text that begins with an exclamation mark"),
        (
            "scanning a tag|parsing a tag$|undefined tag handle|parsing a tag:",
            "a tag is not valid; quote text that begins with an exclamation mark",
        ),
        ("scanning an (anchor|alias)", "a name after & or * is not valid; quote text that begins with either"),
        ("directive|incompatible YAML|version number", "a directive, a line that begins with a percent sign, is not known here"),
        ("<document start>", "something follows the end of the document"),
        ("another document", "a second document begins, and only one is allowed"),
        (
            "unhashable key|unacceptable key",
            "a map or a list stands where a key is expected; quote text that begins with a brace or a bracket",
        ),
        ("maximum nesting|while increasing", "it is nested too deeply"),
        ("for merging", "only a map, or a list of maps, can follow <<"),
        ("block scalar", "only a sign, a digit and a comment can follow | or >"),
        (f"{ILL_TAGGED}|base64|but found", "a value is not what its tag says, or is a date that does not exist; put it in quotes"),
        ("unexpected ':'", "a colon is not allowed here; quote text that holds one"),
        ("UTF-|surrogate|Unicode", "it holds a character that is not valid"),
    )
)
#: The fault is at the start of a line, or after other text in it.
_MISPLACED = re.compile("<block end>|expected key|'-' indicator")
_AT_A_LINE = "the line does not fit the lines above it: look at its indentation, and whether a list and a map are mixed"
_IN_A_LINE = "something follows a value that is complete, such as text after a closing quote"
#: The first line of the value helps more than the place where the parser stopped.
_BEGINS = re.compile("quoted scalar|could not find expected ':'|scanning a tag|parsing a tag")
#: Not compiled here: that takes 3 ms, and few calls need it.
_CONTROL = "[^\\t\\n\\r\\x20-\\x7e\\x85\\xa0-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]"

_JSON = (
    ("Expecting property name", "a key in double quotes is expected here, or the comma before is one too many"),
    ("Illegal trailing comma", "a comma stands before a closing bracket or brace"),
    ("Expecting ',' delimiter", "a comma or a closing bracket or brace is expected here"),
    ("Expecting ':' delimiter", "a colon is expected here"),
    ("Expecting value", "a value is expected here; text stands in double quotes"),
    ("Unterminated string", "a quote is never closed"),
    ("Invalid control character", "text in quotes holds a line break, a tab or another control character"),
    ("Invalid \\", "text in quotes has a backslash that begins no known escape; write two"),
    ("Extra data", "something follows the end of the document"),
)


def json_fault(error: json.JSONDecodeError) -> str:
    if not error.doc.strip():
        return "it is empty"
    words = next((words for said, words in _JSON if error.msg.startswith(said)), "it is not valid JSON")
    return f"it is not JSON: {_place(error.lineno, error.colno)}{words}"


def yaml_fault(error: Exception, text: str) -> str:
    """Return the fault of a YAML text, and its place; ``error`` is PyYAML's, with or without libyaml."""
    mark, begin = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    control = re.search(_CONTROL, text)
    if mark is None and control is not None:
        before = text[: control.start()]
        place = _place(before.count("\n") + 1, control.start() - before.rfind("\n"))
        return f"it is not YAML: {place}it holds a control character; remove it, or write it as an escape in double quotes"
    said = f"{getattr(error, 'context', None) or ''}: {getattr(error, 'problem', None) or getattr(error, 'reason', None) or ''}"
    words = _words(said, text, mark)
    if begin is not None:
        words = words.format(begin=begin.line + 1)
        mark = begin if _BEGINS.search(said) else mark
    return f"it is not YAML: {'' if mark is None else _place(mark.line + 1, mark.column + 1)}{words}"


def yaml_fault_at(mark: Any, words: str) -> str:
    return f"it is not YAML: {_place(mark.line + 1, mark.column + 1)}{words}"


def _words(said: str, text: str, mark: Any) -> str:
    if mark is not None and _MISPLACED.search(said):
        return _IN_A_LINE if text[: mark.index].rpartition("\n")[2].strip() else _AT_A_LINE
    if mark is not None and "cannot start any token" in said and text[mark.index : mark.index + 1] == "\t":
        said = "found a tab character"
    return next((words for pattern, words in _YAML if pattern.search(said)), "it is not valid YAML")


def _place(line: int, column: int) -> str:
    return f"line {line}, column {column}: "


#: Deeper than any definition, and safe for every later reader.
_DEEPEST = 64
#: Most values with all aliases written out; long text counts as several. A real definition has about a hundred.
_MOST_VALUES = 100_000
_TEXT_PER_VALUE = 64
_LONGEST_NUMBER = 400

#: Plain values of YAML 1.2 and JSON. YAML 1.1 would convert 0123, 1.20, 12:30, on and 2024-01-01, which are common in environments;
#: here they stay text. Longer whole numbers are identifiers: text.
_PLAIN = (
    ("null", r"(?:~|null|Null|NULL|)\Z", ("~", "n", "N", "")),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)\Z", tuple("tTfF")),
    ("int", r"-?(?:0|[1-9][0-9]{0,17})\Z", tuple("-0123456789")),
    ("merge", r"<<\Z", ("<",)),
)
_KINDS = ("null", "bool", "int", "str", "seq", "map")
_TAG = "tag:yaml.org,2002:"


def load_text(content: bytes, where: str, *, yaml: bool) -> object:
    """Return the value of UTF-8 ``content``. Raises `DefinitionInvalid` with ``where``, and `MissingLibrary` for YAML without PyYAML."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise invalid(where, f"it is not UTF-8 text (byte {error.start})") from None
    return _load_yaml(text, where) if yaml else _load_json(text, where)


def invalid(where: str, reason: str) -> DefinitionInvalid:
    return DefinitionInvalid(f"Cannot read definition {where}: {reason}", where=where)


def _load_json(text: str, where: str) -> object:
    if is_nested_deeper(text, _DEEPEST):
        raise invalid(where, "it is nested too deeply")
    try:
        return json.loads(text, parse_int=_whole_number, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise invalid(where, json_fault(error)) from None
    except ValueError as error:
        raise invalid(where, str(error)) from None


def _whole_number(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError(f"it holds a number of {len(digits)} digits; put it in quotes")
    return int(digits)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _load_yaml(text: str, where: str) -> object:
    yaml, loader = _yaml_loader()
    try:
        _refuse_excess(yaml.parse(text, loader), where)
        return yaml.load(text, loader)
    except yaml.YAMLError as error:
        raise invalid(where, yaml_fault(error, text)) from None


def root_node(text: str) -> Any:
    """Return the node of a YAML text that `load_text` can read; unlike a map, it has duplicate keys."""
    yaml, loader = _yaml_loader()
    return yaml.compose(text, loader)


def yaml_library(task: str, instead: str = "") -> tuple[Any, Any]:
    """Return PyYAML, and its safe loader, libyaml's if available. Raises `MissingLibrary` with the ``task``."""
    try:
        import yaml
    except ImportError as error:
        raise MissingLibrary.of(task, "PyYAML", "python3-yaml", error, instead=instead) from error
    return yaml, getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@functools.cache
def _yaml_loader() -> tuple[Any, Any]:
    yaml, base = yaml_library("read a definition in YAML", ", or write JSON")
    known = {tag: base.yaml_constructors[tag] for tag in (None, *(_TAG + kind for kind in _KINDS))}
    loader: Any = type("PlainLoader", (placing(base),), {"yaml_implicit_resolvers": {}, "yaml_constructors": known})
    for kind, pattern, first in _PLAIN:
        loader.add_implicit_resolver(_TAG + kind, re.compile(pattern), first)
    return yaml, loader


def placing(loader_class: Any) -> Any:
    """Return a PyYAML loader that names the place of a value that does not fit its tag. PyYAML raises unexpected errors for it."""
    from yaml.constructor import ConstructorError

    def construct_object(self: Any, node: Any, deep: bool = False) -> Any:
        try:
            return loader_class.construct_object(self, node, deep)
        except (ValueError, LookupError, AttributeError):
            raise ConstructorError(None, None, ILL_TAGGED, node.start_mark) from None

    return type("PlacingLoader", (loader_class,), {"construct_object": construct_object})


@dataclass
class _Extent:
    """The size of a value with its aliases written out: number of values, and depth."""

    anchor: str | None
    values: int = 1
    height: int = 1

    def add(self, part: _Extent) -> None:
        self.values += part.values
        self.height = max(self.height, part.height + 1)


def _refuse_excess(events: Iterable[Any], where: str) -> None:
    """Refuse a document that is too deep, or too large by aliases of aliases, before any value is built."""
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
                raise invalid(where, yaml_fault_at(event.start_mark, ALIAS))
            part = whole[event.anchor]
            within[-1].add(part)
        else:
            continue
        if part.anchor is not None:
            whole[part.anchor] = part
        if len(within) + part.height > _DEEPEST or within[-1].values > _MOST_VALUES:
            raise invalid(where, f"line {event.start_mark.line + 1}: it is nested too deeply or holds too much")
