# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TOML file as a tree of tables, lists and scalars that know where in the file they stand, and where a new key of a table would; pure.

It keeps the rules of TOML: no key and no table twice, nothing added to what is closed. Reading only; `toml_edit` writes.
"""

from __future__ import annotations

import enum
from typing import Union

from ..fault import ConfigFault
from ..splice import BYTE_ORDER_MARK
from .toml_words import TomlScalar, Words, key_text

__all__ = ["Form", "AddedLine", "Listing", "Node", "Table", "read_toml"]

#: Bounds on time and memory; no configuration file comes near them.
_DEEPEST = 64
_MOST_NODES = 200_000
_MOST_LINES = 500_000


class Form(enum.Enum):
    """How a table came to be, which says where a new key of it can be written."""

    #: The whole file, or below a header of its own: ``[a]``, ``[[a]]``.
    SECTION = "section"
    #: Only as a part of headers of others: ``a`` in ``[a.b]``.
    IMPLIED = "implied"
    #: Only as a part of keys: ``a`` in ``a.b = 1``.
    DOTTED = "dotted"
    #: In braces.
    INLINE = "inline"


class AddedLine:
    """A key that a rule adds: how it is written, and its value; ``listed``: the value is the only item of a list."""

    __slots__ = ("key", "leaf", "listed")

    def __init__(self, key: str, leaf: TomlScalar, listed: bool) -> None:
        self.key = key
        self.leaf = leaf
        self.listed = listed


class Listing:
    """A list: in brackets, or (``closed`` False) of tables with ``[[headers]]``. ``first``: an item that a rule put in an empty one."""

    __slots__ = ("closed", "first", "items", "start")

    def __init__(self, start: int, closed: bool) -> None:
        self.start = start
        self.closed = closed
        self.items: list[Node] = []
        self.first: TomlScalar | None = None


class Table:
    """A table. ``names``: the header that would lead to it, or None where none can (in a list, or in braces).

    ``anchor`` is where a new key is written, behind ``indent``; ``prefix`` is what its key begins with there. Lines to be written at one
    anchor are in ``lines``, which tables may share.
    """

    __slots__ = ("anchor", "entries", "form", "indent", "keyed_in", "lines", "name", "names", "parent", "prefix")

    def __init__(self, form: Form, parent: Table | None, name: str, names: tuple[str, ...] | None) -> None:
        self.form = form
        self.parent = parent
        self.name = name
        self.names = names
        self.entries: dict[str, Node] = {}
        self.anchor = 0
        self.indent = ""
        self.prefix = ""
        self.lines: list[AddedLine] = []
        #: The section whose keys made this table, if keys did: later sections may not add to it.
        self.keyed_in: Table | None = None


Node = Union[TomlScalar, Listing, Table]


def read_toml(text: str) -> Table:
    """The tree of a file, which ends with a line end or is empty. Raises `ConfigFault` for what is not TOML or is too large."""
    if text.count("\n") > _MOST_LINES:
        raise ConfigFault(f"the file has more than {_MOST_LINES} lines")
    return _TomlReader(text).read()


class _TomlReader:
    """Builds the tree, one line after the other."""

    def __init__(self, text: str) -> None:
        self._words = Words(text)
        self._count = 0
        self._root = Table(Form.SECTION, None, "", ())
        self._section = self._root
        #: The tables that the present line adds to.
        self._grown: list[Table] = []

    def read(self) -> Table:
        words = self._words
        if words.at(BYTE_ORDER_MARK):
            words.position = 1
        # Above the first header; of a file without one: at the end.
        self._root.anchor = words.position
        words.skip_lines()
        while words.position < len(words.text):
            if words.at("["):
                self._header()
            else:
                self._pair_line()
            words.end_line()
            self._anchor_here()
            words.skip_lines()
        if self._section is self._root and not self._root.entries:
            self._root.anchor = len(words.text)
        return self._root

    def _anchor_here(self) -> None:
        """A line has ended: what is added to the table it was for comes next."""
        for table in self._grown:
            table.anchor = self._words.position

    def _new(self, node: Node) -> Node:
        self._count += 1
        if self._count > _MOST_NODES:
            raise ConfigFault(f"the file has more than {_MOST_NODES} values")
        return node

    def _table(self, form: Form, parent: Table, name: str, names: tuple[str, ...] | None) -> Table:
        table = Table(form, parent, name, names)
        self._new(table)
        return table

    def _indent(self) -> str:
        """The white space between the beginning of the line and here."""
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
        table = self._root
        for name in names[:-1]:
            table = self._below_header(table, name)
        self._section = self._item(table, names[-1]) if several else self._opened(table, names[-1])
        self._section.indent = indent
        self._grown = [self._section]

    def _below_header(self, table: Table, name: str) -> Table:
        """The table that a part of a header leads to: the last one of a list of them."""
        node = table.entries.get(name)
        if node is None:
            node = self._table(Form.IMPLIED, table, name, None if table.names is None else (*table.names, name))
            table.entries[name] = node
        if isinstance(node, Listing) and not node.closed:
            node = node.items[-1]
        if not isinstance(node, Table) or node.form is Form.INLINE:
            raise self._words.fault("says two things of one key")
        return node

    def _opened(self, table: Table, name: str) -> Table:
        """The table of a header in single brackets."""
        node = table.entries.get(name)
        if node is None:
            node = self._table(Form.SECTION, table, name, None if table.names is None else (*table.names, name))
            table.entries[name] = node
        elif isinstance(node, Table) and node.form is Form.IMPLIED:
            node.form = Form.SECTION
        else:
            raise self._words.fault("says two things of one key")
        return node

    def _item(self, table: Table, name: str) -> Table:
        """The new table of a header in double brackets."""
        node = table.entries.get(name)
        if node is None:
            node = self._new(Listing(0, closed=False))
            table.entries[name] = node
        if not isinstance(node, Listing) or node.closed:
            raise self._words.fault("says two things of one key")
        item = self._table(Form.SECTION, table, name, None)
        node.items.append(item)
        return item

    def _pair_line(self) -> None:
        indent = self._indent()
        self._grown = self._pair(self._section, 0)
        for table in self._grown:
            table.indent = indent

    def _pair(self, home: Table, depth: int) -> list[Table]:
        """A key and its value, in a section or an inline table; the tables they are for, from ``home`` on."""
        words = self._words
        *names, last = words.key()
        grown = [home]
        for name in names:
            grown.append(self._below_key(grown[-1], name, home))
        if last in grown[-1].entries:
            raise words.fault("says two things of one key")
        words.take("=")
        words.skip_blanks()
        grown[-1].entries[last] = self._value(depth)
        return grown

    def _below_key(self, table: Table, name: str, home: Table) -> Table:
        """The table that a part of a key leads to."""
        node = table.entries.get(name)
        if node is None:
            node = self._table(Form.DOTTED, table, name, None)
            self._bind(node, table, home)
            table.entries[name] = node
        elif isinstance(node, Table) and node.form is Form.IMPLIED:
            node.form = Form.DOTTED
            self._bind(node, table, home)
        if not isinstance(node, Table) or node.keyed_in is not home:
            raise self._words.fault("says two things of one key")
        return node

    @staticmethod
    def _bind(table: Table, parent: Table, home: Table) -> None:
        table.keyed_in = home
        table.prefix = f"{parent.prefix}{key_text(table.name)}."
        if home.form is Form.INLINE:
            table.lines = home.lines

    def _value(self, depth: int) -> Node:
        words = self._words
        if depth > _DEEPEST:
            raise words.fault(f"is nested more than {_DEEPEST} deep")
        if words.at("["):
            return self._list(depth)
        if words.at("{"):
            return self._braces(depth)
        return self._new(words.scalar())

    def _list(self, depth: int) -> Listing:
        words = self._words
        listing = Listing(words.position, closed=True)
        self._new(listing)
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
        """An inline table. Its anchor is behind its last value, or behind the brace."""
        words = self._words
        table = Table(Form.INLINE, None, "", None)
        self._new(table)
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
