# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parsers ``yaml`` and ``yml``: change values by their path; comments, order, quotes, dates and anchors stay; pure.

New keys go behind the last one of their map, with its indent. Only the first of several documents counts. A value that an anchor shares is
not changed; an alias is replaced by a value of its own. Wings instead rewrites the whole file without comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..model.config_rule import ConfigRule
from . import yaml_read
from .rules import ConfigFault
from .splice import Edit, appended, between, line_end
from .tree import Alias, Document, List, Map, Node, Span, added, rewritten
from .yaml_read import anchor_of, scalar

_COLON = re.compile(r"[ \t]*:[ \t]+")
#: A literal or folded block, behind anchor and tag; a + keeps the empty lines behind it.
_BLOCK = re.compile(r"(?:[&!]\S*\s+)*[|>]([^\n]*)")
_BLANKS = " \t\r\n"


def replace_yaml(text: str, rules: Sequence[ConfigRule]) -> str:
    """Apply ``rules`` to ``text``. Raises `ConfigFault` for text that is not YAML and rules that do not fit it."""
    return rewritten(text, rules, yaml_read.read, lambda before, document: _YamlWriter(before, document).edits())


class _YamlWriter:
    def __init__(self, text: str, document: Document) -> None:
        self._text = text
        self._document = document
        self._end = line_end(text)
        self._unit = _unit(text, document)

    def edits(self) -> Iterator[Edit]:
        """Yield the edits; inner ones first at the same place."""
        for node in self._document.entries.values():
            if node.new and (node.span is None or (node.span[0] == node.span[1] and isinstance(node, (Map, List)))):
                yield self._below(len(self._text) if node.span is None else node.span[0], self._lines(node))
            else:
                yield from self._edits_of(node, self._document)

    def _edits_of(self, node: Node, parent: Map | List) -> Iterator[Edit]:
        if node.new and node.span is not None:
            yield self._replaced(node, node.span, parent)
        elif isinstance(node, (Map, List)):
            for _key, child in node.pairs():
                if child.span is not None:
                    yield from self._edits_of(child, node)
            if new := added(node):
                yield from self._flow_added(node, new) if node.flow else [self._block_added(node, new)]

    def _replaced(self, node: Node, span: Span, parent: Map | List) -> Edit:
        start, end = span
        before = self._text[start:end].rstrip(_BLANKS)
        if before:
            # Of a block, only the lines behind it stay.
            anchor, style = anchor_of(before)
            return start, start + len(before), anchor + self._inline(node, parent.flow, style)
        if isinstance(node, (Map, List)) and isinstance(parent, Map) and not parent.flow:
            return self._below(start, [" " * self._column(parent.first) + self._unit + line for line in self._lines(node)])
        sign = self._text[:start].rstrip(" \t")
        if not sign.endswith((":", "-")):
            raise ConfigFault("a rule replaces a value that is not written out, so its place is unknown")
        return len(sign), len(sign), " " + self._inline(node, parent.flow, "")

    def _block_added(self, node: Map | List, new: list[tuple[str | None, Node]]) -> Edit:
        column = self._column(self._dash(node.first) if isinstance(node, List) else node.first)
        lines = [line for key, child in new for line in self._entry_lines(key, child)]
        return self._below(self._content_end(node), [" " * column + line for line in lines])

    def _flow_added(self, node: Map | List, new: list[tuple[str | None, Node]]) -> list[Edit]:
        start, end = node.gap
        if node.last is None or node.last.span is None:
            blank = not self._text[start:end].strip()
            return [(start, end if blank else start, ", ".join(self._inline_entry(key, child) for key, child in new))]
        # New entries get quotes if the last one begins with them.
        style = '"' if self._text[end : end + 1] == '"' else ""
        colon = self._text[slice(*node.colon)]
        colon = colon if _COLON.fullmatch(colon) else ": "
        separator = between(self._text, start, end) if start < end else ", "
        return appended(self._text, node.last.span[1], separator, [self._inline_entry(key, child, colon, style) for key, child in new])

    def _inline_entry(self, key: str | None, node: Node, colon: str = ": ", style: str = "") -> str:
        value = self._inline(node, True, style)
        return value if key is None else scalar(key, style=style, flow=True) + colon + value

    def _inline(self, node: Node, flow: bool, style: str) -> str:
        if isinstance(node, (Map, List)):
            inner = ", ".join(self._inline_entry(key, child) for key, child in node.pairs())
            return f"{{{inner}}}" if isinstance(node, Map) else f"[{inner}]"
        if isinstance(node, Alias):
            return f"*{node.name}"
        return scalar(node.value, style=style, flow=flow)

    def _lines(self, node: Node) -> list[str]:
        if isinstance(node, (Map, List)):
            return [line for key, child in node.pairs() for line in self._entry_lines(key, child)]
        return [self._inline(node, False, "")]

    def _entry_lines(self, key: str | None, node: Node) -> list[str]:
        lines = self._lines(node)
        if key is None:
            return ["- " + lines[0], *("  " + line for line in lines[1:])]
        if isinstance(node, (Map, List)):
            return [f"{scalar(key)}:", *(self._unit + line for line in lines)]
        return [f"{scalar(key)}: {lines[0]}"]

    def _below(self, position: int, lines: list[str]) -> Edit:
        """Insert lines below a position's line; right there if a line begins there."""
        if position == 0 or self._text[position - 1] == "\n":
            return position, position, "".join(line + self._end for line in lines)
        end = self._text.find("\n", position) + 1
        if end == 0:
            return len(self._text), len(self._text), "".join(self._end + line for line in lines)
        return end, end, "".join(line + self._end for line in lines)

    def _content_end(self, node: Node) -> int:
        """Return the end of a block's last value, without trailing empty lines unless they belong to it."""
        while isinstance(node, (Map, List)) and not node.flow and node.last is not None:
            node = node.last
        start, end = node.span or (0, 0)
        text = self._text[start:end]
        block = _BLOCK.match(text)
        return end if block is None or "+" in block.group(1) else start + len(text.rstrip(_BLANKS))

    def _dash(self, position: int) -> int:
        before = self._text[:position].rstrip(" \t")
        if not before.endswith("-"):
            raise ConfigFault("a list with dashes on lines of their own cannot grow")
        return len(before) - 1

    def _column(self, position: int) -> int:
        return position - (self._text.rfind("\n", 0, position) + 1)


def _unit(text: str, document: Document) -> str:
    """Return the indent of a level: that of the first nested map, else two blanks."""
    root = document.entries.get(0)
    if isinstance(root, Map) and not root.flow:
        for child in root.entries.values():
            if isinstance(child, Map) and not child.flow and child.first > 0:
                column = child.first - (text.rfind("\n", 0, child.first) + 1)
                return " " * min(column, 8) if column > 0 else "  "
    return "  "
