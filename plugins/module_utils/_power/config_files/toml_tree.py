# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TOML file as a tree of tables, lists and scalars that know where in the file they stand, and where a new key of a table would; pure.

`read_toml` makes one of a text; `toml_file` changes and writes it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Union

from .rules import ConfigFault
from .splice import BYTE_ORDER_MARK
from .toml_words import TomlScalar, Words, key_text

#: Values of one file, a bound on time and memory; no configuration file comes near it.
_MOST_NODES = 200_000
_TWICE = "says two things of one key"
#: Bounds on time and memory; no configuration file comes near them.
_DEEPEST = 64
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


class TreeBuilder:
    """Adds to the tree of a file by the rules of TOML: no key and no table twice, nothing added to what is closed.

    ``fault`` makes a `ConfigFault` of a reason, which is raised where a rule is broken.
    """

    def __init__(self, fault: Callable[[str], ConfigFault]) -> None:
        self._fault = fault
        self._count = 0
        self.root = Table(Form.SECTION, None, "", ())

    def counted(self, node: Node) -> Node:
        """Return a new node, unless the file has too many by now."""
        self._count += 1
        if self._count > _MOST_NODES:
            raise ConfigFault(f"the file has more than {_MOST_NODES} values")
        return node

    def inline_table(self) -> Table:
        """Make a table in braces."""
        table = Table(Form.INLINE, None, "", None)
        self.counted(table)
        return table

    def listing(self, start: int) -> Listing:
        """Make a list in brackets that begins at ``start``."""
        listing = Listing(start, closed=True)
        self.counted(listing)
        return listing

    def open_section(self, names: list[str], several: bool) -> Table:
        """Open the table of a header: the one of that name, or the next of a list of tables where the header has double brackets."""
        table = self.root
        for name in names[:-1]:
            table = self._below_header(table, name)
        return self._item(table, names[-1]) if several else self._opened(table, names[-1])

    def _below_header(self, table: Table, name: str) -> Table:
        """Return the table that a part of a header leads to: the last one of a list of them."""
        node = table.entries.get(name)
        if node is None:
            node = self._named(Form.IMPLIED, table, name)
        if isinstance(node, Listing) and not node.closed:
            node = node.items[-1]
        if not isinstance(node, Table) or node.form is Form.INLINE:
            raise self._fault(_TWICE)
        return node

    def _opened(self, table: Table, name: str) -> Table:
        """Open the table of a header in single brackets."""
        node = table.entries.get(name)
        if node is None:
            node = self._named(Form.SECTION, table, name)
        elif isinstance(node, Table) and node.form is Form.IMPLIED:
            node.form = Form.SECTION
        else:
            raise self._fault(_TWICE)
        return node

    def _named(self, form: Form, parent: Table, name: str) -> Table:
        """Add a table that a header can lead to, if one leads to its parent."""
        table = Table(form, parent, name, None if parent.names is None else (*parent.names, name))
        self.counted(table)
        parent.entries[name] = table
        return table

    def _item(self, table: Table, name: str) -> Table:
        """Add the table of a header in double brackets to its list."""
        node = table.entries.get(name)
        if node is None:
            node = self.counted(Listing(0, closed=False))
            table.entries[name] = node
        if not isinstance(node, Listing) or node.closed:
            raise self._fault(_TWICE)
        item = Table(Form.SECTION, table, name, None)
        self.counted(item)
        node.items.append(item)
        return item

    def tables_of_key(self, home: Table, names: list[str]) -> list[Table]:
        """Return the tables that a key in ``home`` is for, from ``home`` on; the last one has no such key yet."""
        grown = [home]
        for name in names[:-1]:
            grown.append(self._below_key(grown[-1], name, home))
        if names[-1] in grown[-1].entries:
            raise self._fault(_TWICE)
        return grown

    def _below_key(self, table: Table, name: str, home: Table) -> Table:
        """Return the table that a part of a key leads to."""
        node = table.entries.get(name)
        if node is None:
            node = Table(Form.DOTTED, table, name, None)
            self.counted(node)
            _bind(node, table, home)
            table.entries[name] = node
        elif isinstance(node, Table) and node.form is Form.IMPLIED:
            node.form = Form.DOTTED
            _bind(node, table, home)
        if not isinstance(node, Table) or node.keyed_in is not home:
            raise self._fault(_TWICE)
        return node


def _bind(table: Table, parent: Table, home: Table) -> None:
    """Make a table one that keys in ``home`` made."""
    table.keyed_in = home
    table.prefix = f"{parent.prefix}{key_text(table.name)}."
    if home.form is Form.INLINE:
        table.lines = home.lines


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
