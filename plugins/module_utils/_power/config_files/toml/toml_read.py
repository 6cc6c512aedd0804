# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the text of a TOML file into a tree of `toml_tree`; pure."""

from __future__ import annotations

from ..fault import ConfigFault
from ..splice import BYTE_ORDER_MARK
from .toml_tree import Listing, Node, Table, TreeBuilder
from .toml_words import Words

__all__ = ["read_toml"]

#: Bounds on time and memory; no configuration file comes near them.
_DEEPEST = 64
_MOST_LINES = 500_000


def read_toml(text: str) -> Table:
    """Return the tree of a file, which ends with a line end or is empty. Raises `ConfigFault` for what is not TOML or is too large."""
    if text.count("\n") > _MOST_LINES:
        raise ConfigFault(f"the file has more than {_MOST_LINES} lines")
    return _TomlReader(text).read()


class _TomlReader:
    """Reads one line after the other, and tells each table where what is added to it would be written."""

    def __init__(self, text: str) -> None:
        self._words = Words(text)
        self._tree = TreeBuilder(self._words.fault)
        self._section = self._tree.root
        #: The tables that the present line adds to.
        self._grown: list[Table] = []

    def read(self) -> Table:
        """Read the whole text, once."""
        words, root = self._words, self._tree.root
        if words.at(BYTE_ORDER_MARK):
            words.position = 1
        # Above the first header; of a file without one: at the end.
        root.anchor = words.position
        words.skip_lines()
        while words.position < len(words.text):
            if words.at("["):
                self._header()
            else:
                self._pair_line()
            words.end_line()
            self._anchor_here()
            words.skip_lines()
        if self._section is root and not root.entries:
            root.anchor = len(words.text)
        return root

    def _anchor_here(self) -> None:
        """A line has ended: what is added to the table it was for comes next."""
        for table in self._grown:
            table.anchor = self._words.position

    def _indent(self) -> str:
        """Return the white space between the beginning of the line and here."""
        words = self._words
        return words.text[words.text.rfind("\n", 0, words.position) + 1 : words.position].removeprefix(BYTE_ORDER_MARK)

    def _header(self) -> None:
        words = self._words
        indent = self._indent()
        several = words.at("[[")
        words.take("[[" if several else "[")
        words.skip_blanks()
        names = words.key()
        words.take("]]" if several else "]")
        self._section = self._tree.open_section(names, several)
        self._section.indent = indent
        self._grown = [self._section]

    def _pair_line(self) -> None:
        indent = self._indent()
        self._grown = self._pair(self._section, 0)
        for table in self._grown:
            table.indent = indent

    def _pair(self, home: Table, depth: int) -> list[Table]:
        """Read a key and its value in a section or an inline table. Return the tables they are for, from ``home`` on."""
        words = self._words
        names = words.key()
        grown = self._tree.tables_of_key(home, names)
        words.take("=")
        words.skip_blanks()
        grown[-1].entries[names[-1]] = self._value(depth)
        return grown

    def _value(self, depth: int) -> Node:
        words = self._words
        if depth > _DEEPEST:
            raise words.fault(f"is nested more than {_DEEPEST} deep")
        if words.at("["):
            return self._list(depth)
        if words.at("{"):
            return self._braces(depth)
        return self._tree.counted(words.scalar())

    def _list(self, depth: int) -> Listing:
        words = self._words
        listing = self._tree.listing(words.position)
        words.take("[")
        words.skip_lines()
        while not words.at("]"):
            listing.items.append(self._value(depth + 1))
            words.skip_lines()
            if not words.at("]"):
                words.take(",")
                words.skip_lines()
        words.take("]")
        return listing

    def _braces(self, depth: int) -> Table:
        """Read an inline table. Its anchor is behind its last value, or behind the brace."""
        words = self._words
        table = self._tree.inline_table()
        words.take("{")
        table.anchor = words.position
        words.skip_lines()
        while not words.at("}"):
            self._pair(table, depth + 1)
            table.anchor = words.position
            words.skip_lines()
            if not words.at("}"):
                words.take(",")
                words.skip_lines()
        words.take("}")
        return table
