# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first document of a YAML file as a tree, from PyYAML's events, which alone have the positions of aliases; pure.

Nothing is expanded: an alias is one node. Plain values have the types of YAML 1.1 and 1.2 together, since the server may use either.
"""

from __future__ import annotations

import re
from typing import Any

from ..definitions.definition_text import ALIAS, yaml_fault, yaml_fault_at, yaml_library
from .rules import ConfigFault, Number, Value, is_moment, text_of
from .tree import DEEPEST, MOST_VALUES, Alias, Document, Leaf, List, Map, Node, Span

#: Characters of a plain value that gets a type; a longer one is text, since patterns need many times its memory.
LONGEST_TYPED = 256
#: Types of plain values in any reader, in this order.
_KINDS = (
    ("null", re.compile(r"~|null|Null|NULL|")),
    ("bool", re.compile(r"(?:true|yes|on|false|no|off)", re.IGNORECASE)),
    ("merge", re.compile(r"<<|=")),
    ("int", re.compile(r"[-+]?(?:0b[01_]+|0o[0-7]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*(?::[0-5]?[0-9])*)")),
    ("float", re.compile(r"[-+]?(?:[0-9][0-9_]*(?::[0-5]?[0-9])*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?")),
    ("float", re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")),
    ("timestamp", re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?")),
)
_TRUE = frozenset(("true", "yes", "on"))
_TAG = "tag:yaml.org,2002:"
_DIRECTIVE, _MOST_DIRECTIVES = "%TAG", 1000
#: Tags that go when a rule replaces their scalar.
_TAGS = {_TAG + kind: kind for kind in ("null", "bool", "int", "float", "str", "timestamp")}

#: Bytes that are not UTF-8 are these surrogates, which no parser takes; during parsing they are private characters.
_BYTES = range(0xDC80, 0xDD00)
_PRIVATE = 0xF780
_AWAY = {code: _PRIVATE + code - _BYTES.start for code in _BYTES}
_BACK = {private: code for code, private in _AWAY.items()}
#: Plain text without a meaning in YAML: in a block, and within brackets, where a comma and, to some readers, a question mark end it.
_PLAIN = re.compile(r"[^\s,\[\]{}#&*!|>'\"%@`?:=<~\-](?:[^\n:#]|:(?! |\Z)|(?<! )#)*")
_FLOW = re.compile(r"[^,\[\]{}:?]*")
#: Booleans of YAML 1.1, though hardly any reader uses them.
_LETTERS = frozenset("yYnN")
_ANCHOR = re.compile(r"&[^\s,\[\]{}]+(?:[ \t]+|\Z)")
#: YAML 1.1's dates; a reader fails at an invalid one.
_DATE = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"
    r"(?:(?:[Tt]|[ \t]+)([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+]([0-9]{1,2})(?::([0-9]{2}))?))?)?"
)
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0", "\x1b": "\\e"}
_ESCAPED_BYTES = ("\udc80", "\udcff")


def kind_of(plain: str) -> str:
    """Return an unquoted value's type in any reader: null, bool, merge, int, float, timestamp or str, as for every long one."""
    if len(plain) > LONGEST_TYPED:
        return "str"
    return next((kind for kind, pattern in _KINDS if pattern.fullmatch(plain)), "str")


def read(text: str) -> Document:
    """Return the tree of the first document. Raises `ConfigFault` with line and column, `MissingLibrary` without PyYAML."""
    away = text.translate(_AWAY)
    if away != text and any(chr(private) in text for private in _BACK):
        raise ConfigFault("it holds both bytes that are not UTF-8 and characters that stand for them here")
    # libyaml compares each with all before it.
    if text.count(_DIRECTIVE) > _MOST_DIRECTIVES:
        raise ConfigFault(f"it holds {_DIRECTIVE} more than {_MOST_DIRECTIVES} times")
    builder = _Builder(away != text)
    yaml, loader = yaml_library("edit a configuration file in YAML")
    try:
        for event in yaml.parse(away, loader):
            if builder.take(event):
                break
    except yaml.YAMLError as error:
        raise ConfigFault(yaml_fault(error, away)) from None
    except (ValueError, LookupError, UnicodeError):
        raise ConfigFault("it is not YAML") from None
    return builder.document


class _Builder:
    def __init__(self, translated: bool) -> None:
        self.document = Document(flow=False)
        self._translated = translated
        self._within: list[_Open] = [_Open(self.document)]
        self._anchors: dict[str, Leaf | Map | List] = {}
        self._values = 0

    def take(self, event: Any) -> bool:
        kind = type(event).__name__
        span = (event.start_mark.index, event.end_mark.index)
        if kind == "ScalarEvent":
            text = event.value.translate(_BACK) if self._translated else event.value
            self._add(self._anchored(event.anchor, _leaf(event, span, text)), span)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            self._open(event, span)
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            self._close(span)
        elif kind == "AliasEvent":
            self._add(self._alias(event, span), span)
        return kind == "DocumentEndEvent"

    def _open(self, event: Any, span: Span) -> None:
        if len(self._within) > DEEPEST:
            raise ConfigFault(f"it is nested deeper than {DEEPEST} levels")
        branch: Map | List = Map() if type(event).__name__ == "MappingStartEvent" else List()
        branch.flow, branch.span = bool(event.flow_style), span
        self._anchored(event.anchor, branch)
        # The gap of brackets begins behind the opening one, where a start event ends.
        self._within.append(_Open(branch, previous=span[1]))

    def _close(self, end: Span) -> None:
        done = self._within.pop().branch
        start, inside = done.span or end
        if done.flow and done.last is None:
            done.gap = (inside, end[0])
        # A block ends with its last value: its end event is at the next content.
        last = None if done.flow or done.last is None else done.last.span
        done.span = (start, end[1] if last is None else last[1])
        self._add(done, done.span)

    def _alias(self, event: Any, span: Span) -> Node:
        target = self._anchors.get(event.anchor)
        if target is None:
            raise ConfigFault(yaml_fault_at(event.start_mark, ALIAS))
        target.shared = True
        return Alias(event.anchor, target, span)

    def _anchored(self, name: str | None, node: Leaf | Map | List) -> Leaf | Map | List:
        if name is not None:
            self._anchors[name] = node
        return node

    def _add(self, node: Node, span: Span) -> None:
        self._values += 1
        if self._values > MOST_VALUES:
            raise ConfigFault(f"it holds more than {MOST_VALUES} values")
        self._within[-1].add(node, span)


class _Open:
    def __init__(self, branch: Map | List, previous: int = 0) -> None:
        self.branch = branch
        self._previous = previous
        self._key: tuple[Node, Span] | None = None

    def add(self, node: Node, span: Span) -> None:
        branch = self.branch
        if isinstance(branch, Map) and self._key is None:
            self._key = (node, span)
            return
        key, entry = self._key or (None, span)
        self._key = None
        branch.first = entry[0] if branch.first < 0 else branch.first
        branch.gap = (self._previous, entry[0])
        branch.last = node
        self._previous = span[1]
        if key is None:
            branch.entries[len(branch.entries)] = node
        else:
            branch.colon = (entry[1], span[0])
            _put(branch, key, node)


def _put(branch: Map | List, key: Node, node: Node) -> None:
    """Add an entry: by the text of its key, as a merge, or without a path."""
    if not isinstance(key, Leaf):
        branch.unreached += key, node
    elif isinstance(key, _Merge):
        branch.merged.append(node)
    else:
        name = key.value if isinstance(key.value, str) else key.spelled
        if name in branch.entries:
            branch.unreached.append(branch.entries[name])
        branch.entries[name] = node


class _Merge(Leaf):
    """The merge key: its value provides missing keys of its map."""


def _leaf(event: Any, span: Span, text: str) -> Leaf:
    if event.tag not in (None, "!"):
        kind = _TAGS.get(event.tag, "str")
        leaf = Leaf(_typed(text, kind), span)
        leaf.closed = "" if event.tag in _TAGS else "its value has a tag of its own, which says how it is read"
    else:
        kind = "str" if event.style or event.tag else kind_of(text)
        leaf = (_Merge if kind == "merge" and text == "<<" else Leaf)(_typed(text, kind), span)
    leaf.spelled = text
    return leaf


def _typed(text: str, kind: str) -> Value:
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in _TRUE
    return Number(text) if kind in ("int", "float") else text


def scalar(value: Value, *, style: str = "", flow: bool = False) -> str:
    """Return a value or a key, with the quotes of ``style`` or those that it needs; ``flow`` within brackets."""
    if isinstance(value, Number):
        return _number(value.text)
    if not isinstance(value, str):
        return "null" if value is None else text_of(value)
    one_line = all(character.isprintable() or _ESCAPED_BYTES[0] <= character <= _ESCAPED_BYTES[1] for character in value)
    if not one_line or style.startswith('"'):
        return '"' + "".join(map(_escaped, value)) + '"'
    if not style.startswith("'") and _may_be_plain(value, style, flow):
        return value
    return "'" + value.replace("'", "''") + "'"


def anchor_of(written: str) -> tuple[str, str]:
    """Split a node's text into its anchor with a blank, or nothing, and the rest."""
    found = _ANCHOR.match(written)
    return ("", written) if found is None else (found.group().rstrip() + " ", written[found.end() :])


def _number(text: str) -> str:
    """Return a number that every reader accepts: YAML 1.1 wants a dot and a sign with an exponent."""
    found = re.fullmatch(r"(-?[0-9]+)(\.[0-9]+)?[eE]([+-]?)([0-9]+)", text)
    if found is None:
        return text
    whole, fraction, sign, exponent = found.groups()
    return f"{whole}{fraction or '.0'}e{sign or '+'}{exponent}"


def _may_be_plain(value: str, style: str, flow: bool) -> bool:
    # A long one may look like a number to a reader.
    if len(value) > LONGEST_TYPED:
        return False
    if not _PLAIN.fullmatch(value) or value.endswith(" ") or value in _LETTERS or (flow and not _FLOW.fullmatch(value)):
        return False
    kind, date = kind_of(value), _DATE.fullmatch(value)
    # A date stays a date if it exists.
    return kind == "str" or (kind == "timestamp" == kind_of(style) and date is not None and is_moment(date.groups()))


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable() or _ESCAPED_BYTES[0] <= character <= _ESCAPED_BYTES[1]:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
