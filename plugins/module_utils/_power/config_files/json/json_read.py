# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a JSON file as a tree; pure. Comments, commas before a closing bracket, ``NaN`` and ``Infinity`` pass: many servers write
them."""

from __future__ import annotations

import json
import re
from typing import NoReturn

from ..fault import ConfigFault
from ..rules import Number, Value
from ..tree import DEEPEST, MOST_VALUES, Document, Leaf, List, Map, Node

__all__ = ["read"]

_BLANKS = re.compile(r"[ \t\r\n]*")
_WORD = re.compile(r"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null|NaN|-?Infinity)(?![\w.+-])")
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}


def read(text: str) -> Document:
    """The tree of ``text``, a document of no values where it holds none. Raises `ConfigFault` naming line and column."""
    reader = _JsonReader(text)
    return reader.document()


class _JsonReader:
    """Reads from a position that only moves ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._values = 0
        self._string = json.JSONDecoder().raw_decode

    def document(self) -> Document:
        """The whole text."""
        document = Document()
        if self._next():
            document.items.append(self._value(0))
            document.last = document.items[0]
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
            return self._map(depth) if character == "{" else self._list(depth)
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

    def _map(self, depth: int) -> Map:
        start = previous = self._at
        node = Map()
        previous = self._at = start + 1
        while self._next() != "}":
            entry = self._at
            if self._next() != '"':
                self._refuse("a key in double quotes or a closing brace was expected")
            key, end = self._text_value(), self._at
            if self._next() != ":":
                self._refuse("a colon was expected")
            self._at += 1
            self._next()
            node.colon, node.gap = (end, self._at), (previous, entry)
            node.first = entry if node.last is None else node.first
            node.last = value = self._value(depth + 1)
            previous = self._at
            if key in node.entries:
                node.unreached.append(node.entries[key])
            node.entries[key] = value
            self._comma("}")
        self._at += 1
        node.span = (start, self._at)
        return node

    def _list(self, depth: int) -> List:
        start = self._at
        node = List()
        previous = self._at = start + 1
        while self._next() != "]":
            node.gap = (previous, self._at)
            node.first = self._at if node.last is None else node.first
            node.last = value = self._value(depth + 1)
            previous = self._at
            node.items.append(value)
            self._comma("]")
        self._at += 1
        node.span = (start, self._at)
        return node

    def _comma(self, closing: str) -> None:
        """Go over the comma behind an entry, which may be missing before the closing bracket."""
        character = self._next()
        if character == ",":
            self._at += 1
        elif character != closing:
            self._refuse("a comma or a closing bracket was expected")

    def _text_value(self) -> str:
        try:
            value, self._at = self._string(self._text, self._at)
        except json.JSONDecodeError as error:
            self._at = error.pos
            self._refuse("text in quotes does not end, or is not written as JSON has it")
        return str(value)

    def _next(self) -> str:
        """The next character that is neither blank nor comment, at which the position is then; empty at the end."""
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
