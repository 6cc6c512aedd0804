# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TOML file as a tree of tables, lists and scalars, with their positions and those for new keys; pure."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple, TypeVar, Union

from ..model.records import dataclass, field
from .rules import ConfigFault
from .toml_words import TomlScalar, Words, key_text

#: Values of one file, a limit on time and memory far above real files.
_MOST_NODES = 200_000
_TWICE = "sets one key twice"
_DEEPEST = 64
_MOST_LINES = 500_000


class Form(enum.Enum):
    """The origin of a table, which decides where a new key can go."""

    #: The whole file, or a table with its own header: ``[a]``, ``[[a]]``.
    SECTION = "section"
    #: Only a part of other headers: ``a`` in ``[a.b]``.
    IMPLIED = "implied"
    #: Only a part of keys: ``a`` in ``a.b = 1``.
    DOTTED = "dotted"
    INLINE = "inline"


class AddedLine(NamedTuple):
    """A key that a rule adds: its text and its value; ``listed``: the value is the only item of a list."""

    key: str
    leaf: TomlScalar
    listed: bool


@dataclass(eq=False)
class Listing:
    """A list: in brackets, or (``closed`` False) of tables with ``[[headers]]``."""

    start: int
    closed: bool
    items: list[Node] = field(default_factory=list)


@dataclass(eq=False)
class Table:
    """A table. ``names``: the header that would lead to it, or None if none can (in a list, or in braces).

    A new key goes to ``anchor``, behind ``indent``, and begins with ``prefix``. ``lines`` are the new lines there; tables may share them.
    """

    form: Form
    parent: Table | None
    name: str
    names: tuple[str, ...] | None
    entries: dict[str, Node] = field(default_factory=dict)
    anchor: int = 0
    indent: str = ""
    prefix: str = ""
    lines: list[AddedLine] = field(default_factory=list)
    #: The section whose keys made this table, if any: later sections may not add to it.
    keyed_in: Table | None = None


Node = Union[TomlScalar, Listing, Table]
_Node = TypeVar("_Node", TomlScalar, Listing, Table)


class TreeBuilder:
    """Builds the tree of a file by TOML's rules: no key and no table twice, no additions to closed tables. Raises by ``fault``."""

    def __init__(self, fault: Callable[[str], ConfigFault]) -> None:
        self._fault = fault
        self._count = 0
        self.root = Table(Form.SECTION, None, "", ())

    def counted(self, node: _Node) -> _Node:
        self._count += 1
        if self._count > _MOST_NODES:
            raise ConfigFault(f"the file has more than {_MOST_NODES} values")
        return node

    def open_section(self, names: list[str], several: bool) -> Table:
        """Open the table of a header: the one of that name, or with double brackets the next of a list of tables."""
        table = self.root
        for name in names[:-1]:
            table = self._below_header(table, name)
        return self._item(table, names[-1]) if several else self._opened(table, names[-1])

    def _below_header(self, table: Table, name: str) -> Table:
        """Return the table of a part of a header: the last one of a list of tables."""
        node = table.entries.get(name) or self._implied(table, name)
        if isinstance(node, Listing) and not node.closed:
            node = node.items[-1]
        if not isinstance(node, Table) or node.form is Form.INLINE:
            raise self._fault(_TWICE)
        return node

    def _opened(self, table: Table, name: str) -> Table:
        node = table.entries.get(name) or self._implied(table, name)
        if not isinstance(node, Table) or node.form is not Form.IMPLIED:
            raise self._fault(_TWICE)
        node.form = Form.SECTION
        return node

    def _implied(self, parent: Table, name: str) -> Table:
        """Add a table that a header can reach, if one reaches its parent."""
        table = self.counted(Table(Form.IMPLIED, parent, name, None if parent.names is None else (*parent.names, name)))
        parent.entries[name] = table
        return table

    def _item(self, table: Table, name: str) -> Table:
        node = table.entries.get(name)
        if node is None:
            node = self.counted(Listing(0, closed=False))
            table.entries[name] = node
        if not isinstance(node, Listing) or node.closed:
            raise self._fault(_TWICE)
        item = self.counted(Table(Form.SECTION, table, name, None))
        node.items.append(item)
        return item

    def tables_of_key(self, home: Table, names: list[str]) -> list[Table]:
        """Return the tables of a key in ``home``, from ``home`` on; the last one lacks the key."""
        grown = [home]
        for name in names[:-1]:
            grown.append(self._below_key(grown[-1], name, home))
        if names[-1] in grown[-1].entries:
            raise self._fault(_TWICE)
        return grown

    def _below_key(self, table: Table, name: str, home: Table) -> Table:
        node = table.entries.get(name)
        if node is None:
            node = table.entries[name] = self.counted(Table(Form.IMPLIED, table, name, None))
        if isinstance(node, Table) and node.form is Form.IMPLIED:
            node.form, node.keyed_in = Form.DOTTED, home
            node.prefix = f"{table.prefix}{key_text(name)}."
            node.lines = home.lines if home.form is Form.INLINE else node.lines
        if not isinstance(node, Table) or node.keyed_in is not home:
            raise self._fault(_TWICE)
        return node


def read_toml(text: str) -> Table:
    """Return the tree of a file, which ends with a line end or is empty. Raises `ConfigFault` for bad or too large TOML."""
    if text.count("\n") > _MOST_LINES:
        raise ConfigFault(f"the file has more than {_MOST_LINES} lines")
    return _TomlReader(text).read()


class _TomlReader:
    """Reads line by line, and notes for each table where additions go."""

    def __init__(self, text: str) -> None:
        self._words = Words(text)
        self._tree = TreeBuilder(self._words.fault)

    def read(self) -> Table:
        words, root = self._words, self._tree.root
        section = root
        # Additions go above the first header; without one, to the end.
        words.skip_lines()
        while words.position < len(words.text):
            indent = words.text[words.text.rfind("\n", 0, words.position) + 1 : words.position]
            if words.at("["):
                section = self._header()
                grown = [section]
            else:
                grown = self._pair(section, 0)
            words.end_line()
            for table in grown:
                table.anchor, table.indent = words.position, indent
            words.skip_lines()
        if section is root and not root.entries:
            root.anchor = len(words.text)
        return root

    def _header(self) -> Table:
        words = self._words
        several = words.at("[[")
        words.take("[[" if several else "[")
        words.skip_blanks()
        names = words.key()
        words.take("]]" if several else "]")
        return self._tree.open_section(names, several)

    def _pair(self, home: Table, depth: int) -> list[Table]:
        """Read a key and its value in a section or an inline table. Return its tables, from ``home`` on."""
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
        listing = self._tree.counted(Listing(words.position, closed=True))
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
        table = self._tree.counted(Table(Form.INLINE, None, "", None))
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
