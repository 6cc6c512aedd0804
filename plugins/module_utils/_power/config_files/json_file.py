# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parser ``json``: changes values by their path; order, spelling, indentation and comments stay; pure.

New keys go behind the last one of their map, in its style. A missing or empty file is created. Wings sorts all keys and rounds numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn

from ..model.config_rule import ConfigRule
from .rules import ConfigFault, Number, Value, text_of
from .splice import Edit, appended, between, indentation, line_end
from .tree import DEEPEST, MOST_VALUES, Alias, Document, Leaf, List, Map, Node, added, rewritten

_COLON = re.compile(r"[ \t]*:[ \t]*")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_INDENTATION = "  "
_BLANKS = re.compile(r"[ \t\r\n]*")
_WORD = re.compile(r"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null|NaN|-?Infinity)(?![\w.+-])")
_STRING = json.JSONDecoder()
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}


def replace_json(text: str, rules: Sequence[ConfigRule]) -> str:
    """Apply ``rules`` to ``text``. Raises `ConfigFault` for text that is not JSON and rules that do not fit it."""
    return rewritten(text, rules, read, lambda before, document: _JsonWriter(before, document).edits())


class _JsonWriter:
    def __init__(self, text: str, document: Document) -> None:
        self._text = text
        self._document = document
        self._end = line_end(text)
        root = document.last
        begun = isinstance(root, (Map, List)) and root.last is not None
        self._colon = self._colon_of(root) if begun and isinstance(root, Map) else ": "
        self._unit = _INDENTATION
        if isinstance(root, (Map, List)) and begun and "\n" in text[slice(*root.gap)]:
            self._unit = indentation(text, root.first) or _INDENTATION
        #: One line per entry, if the file does so or has no entries.
        self._in_lines = not begun or "\n" in text.strip()

    def edits(self) -> Iterator[Edit]:
        for node in self._document.entries.values():
            if node.new and node.span is None:
                yield len(self._text), len(self._text), self._rendered(node, "") + self._end
            else:
                yield from self._edits_of(node)

    def _edits_of(self, node: Node) -> Iterator[Edit]:
        if node.new and node.span is not None:
            pad = indentation(self._text, node.span[0]) if self._in_lines else None
            yield (*node.span, self._rendered(node, pad))
        elif isinstance(node, (Map, List)):
            for _key, child in node.pairs():
                if child.span is not None:
                    yield from self._edits_of(child)
            yield from self._additions(node)

    def _additions(self, node: Map | List) -> Iterator[Edit]:
        new = added(node)
        if not new or node.span is None:
            return
        if node.last is None:
            yield self._filled(node.span, new)
        elif node.last.span is not None:
            end = node.last.span[1]
            separator = between(self._text, *node.gap)
            if node.gap[0] == node.gap[1]:
                separator = "," if self._colon == ":" else ", "
            # A comma may stand at the beginning of the line.
            pad = separator.rpartition("\n")[2].partition(",")[0] if "\n" in separator else None
            colon = self._colon_of(node)
            yield from appended(self._text, end, separator, [self._entry(key, child, pad, colon) for key, child in new])

    def _filled(self, span: tuple[int, int], new: list[tuple[str | None, Node]]) -> Edit:
        start, end = span[0] + 1, span[1] - 1
        if self._text[start:end].strip():
            end = start
        pad = indentation(self._text, start) if self._in_lines and end == span[1] - 1 else None
        return start, end, self._inner(new, pad)

    def _inner(self, entries: Iterable[tuple[str | None, Node]], pad: str | None) -> str:
        if pad is None:
            comma = "," if self._colon == ":" else ", "
            return comma.join(self._entry(key, child, None, self._colon) for key, child in entries)
        deeper = pad + self._unit
        lines = (f",{self._end}{deeper}").join(self._entry(key, child, deeper, self._colon) for key, child in entries)
        return f"{self._end}{deeper}{lines}{self._end}{pad}"

    def _entry(self, key: str | None, node: Node, pad: str | None, colon: str) -> str:
        value = self._rendered(node, pad)
        return value if key is None else json.dumps(key, ensure_ascii=False) + colon + value

    def _rendered(self, node: Node, pad: str | None) -> str:
        if isinstance(node, Map):
            return "{" + self._inner(node.pairs(), pad) + "}"
        if isinstance(node, List):
            return "[" + self._inner(node.pairs(), pad) + "]"
        return self._scalar(node)

    def _scalar(self, leaf: Leaf | Alias) -> str:
        if isinstance(leaf, Alias):
            raise ConfigFault("JSON has no aliases")
        value = leaf.value
        if value is None:
            return "null"
        if not isinstance(value, str):
            return text_of(value)
        # Bytes that are not UTF-8 stay if they were there; a lone surrogate stays escaped.
        raw = "" if leaf.span is None else self._text[slice(*leaf.span)]
        written = json.dumps(value, ensure_ascii=False)
        return _SURROGATE.sub(lambda half: half.group() if half.group() in raw else f"\\u{ord(half.group()):04x}", written)

    def _colon_of(self, node: Node | None) -> str:
        if not isinstance(node, Map) or node.last is None:
            return self._colon
        stretch = self._text[slice(*node.colon)]
        return stretch if _COLON.fullmatch(stretch) else ": "


def read(text: str) -> Document:
    """Return the tree of ``text``, without values for an empty one. Raises `ConfigFault` with line and column."""
    return _JsonReader(text).document()


class _JsonReader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._values = 0

    def document(self) -> Document:
        document = Document()
        if self._next():
            document.last = document.entries[0] = self._value(0)
            if self._next():
                self._refuse("more text follows the value")
        return document

    def _value(self, depth: int) -> Node:
        self._values += 1
        if self._values > MOST_VALUES:
            raise ConfigFault(f"the file holds more than {MOST_VALUES} values")
        start, character = self._at, self._next()
        if character in ("{", "["):
            if depth >= DEEPEST:
                raise ConfigFault(f"the file is nested deeper than {DEEPEST} levels")
            return self._branch(Map(), "}", depth) if character == "{" else self._branch(List(), "]", depth)
        value: Value
        if character == '"':
            value = self._text_value()
        else:
            found = _WORD.match(self._text, start)
            if found is None:
                self._refuse("a value was expected")
            self._at, word = found.end(), found.group()
            value = _CONSTANTS[word] if word in _CONSTANTS else Number(word)
        return Leaf(value, (start, self._at))

    def _branch(self, node: Map | List, closing: str, depth: int) -> Map | List:
        start = self._at
        previous = self._at = start + 1
        while self._next() != closing:
            node.gap = (previous, self._at)
            node.first = self._at if node.last is None else node.first
            key = self._key(node) if isinstance(node, Map) else len(node.entries)
            node.last = value = self._value(depth + 1)
            previous = self._at
            if key in node.entries:
                node.unreached.append(node.entries[key])
            node.entries[key] = value
            self._comma(closing)
        self._at += 1
        node.span = (start, self._at)
        return node

    def _key(self, node: Map) -> str:
        if self._next() != '"':
            self._refuse("a key in double quotes or a closing brace was expected")
        key, end = self._text_value(), self._at
        if self._next() != ":":
            self._refuse("a colon was expected")
        self._at += 1
        self._next()
        node.colon = (end, self._at)
        return key

    def _comma(self, closing: str) -> None:
        character = self._next()
        if character == ",":
            self._at += 1
        elif character != closing:
            self._refuse("a comma or a closing bracket was expected")

    def _text_value(self) -> str:
        try:
            value, self._at = _STRING.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            self._at = error.pos
            self._refuse("text in quotes does not end, or is not valid JSON")
        return str(value)

    def _next(self) -> str:
        text = self._text
        while True:
            found = _BLANKS.match(text, self._at)
            self._at = self._at if found is None else found.end()
            if text.startswith("//", self._at):
                end = text.find("\n", self._at)
                self._at = len(text) if end < 0 else end
            elif text.startswith("/*", self._at):
                end = text.find("*/", self._at + 2)
                if end < 0:
                    self._refuse("a comment does not end")
                self._at = end + 2
            else:
                return text[self._at : self._at + 1]

    def _refuse(self, problem: str) -> NoReturn:
        before = self._text[: self._at]
        line, column = before.count("\n") + 1, self._at - before.rfind("\n")
        raise ConfigFault(f"it is not JSON: line {line}, column {column}: {problem}")
