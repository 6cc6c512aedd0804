# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing a tree of `toml_tree`, and writing what changed into its text; everything else is copied; pure."""

from __future__ import annotations

from collections.abc import Sequence

from ..fault import ConfigFault
from .toml_read import read_toml
from .toml_tree import AddedLine, Form, Listing, Table
from .toml_words import TomlScalar, key_text

__all__ = ["Draft"]

#: What is put in place of the text between two offsets.
_Edit = tuple[int, int, str]


class Draft:
    """A file with the changes made to it so far; the tree shows them, the text gets them when it is `written`."""

    def __init__(self, text: str) -> None:
        self._newline = "\r\n" if "\r\n" in text else "\n"
        #: A last line without an end gets one for as long as it is worked on.
        self._unended = bool(text.strip("\ufeff")) and not text.endswith("\n")
        self._text = text + self._newline if self._unended else text
        self.root = read_toml(self._text)
        self._leaves: dict[int, TomlScalar] = {}
        self._listings: list[Listing] = []
        #: Tables that own the lines to be written at their anchors; those that get a header of their own.
        self._owners: list[Table] = []
        self._sections: list[Table] = []

    def replace(self, leaf: TomlScalar, written: str, shown: TomlScalar) -> None:
        """Write ``written`` in place of a scalar, which is now what ``shown`` is."""
        leaf.written = written
        leaf.value = shown.value
        leaf.form = shown.form
        self._leaves[id(leaf)] = leaf

    def fill(self, listing: Listing, leaf: TomlScalar) -> None:
        """Make ``leaf`` the first item of an empty list."""
        listing.items.append(leaf)
        listing.first = leaf
        self._listings.append(listing)

    def add(self, table: Table, names: Sequence[str], leaf: TomlScalar, listed: bool) -> None:
        """Add the key ``names`` below a table that has no such key; ``listed``: ``leaf`` is the only item of a list there."""
        while table.form is Form.IMPLIED and table.names is None and table.parent is not None:
            # No header leads here: a key with dots in the table above does.
            names, table = (table.name, *names), table.parent
        if table.names is not None and (table.form is Form.IMPLIED or (table.form is Form.SECTION and len(names) > 1)):
            table = self._section(table, names[:-1])
            names = names[-1:]
        if not table.lines and not any(owner.lines is table.lines for owner in self._owners):
            self._owners.append(table)
        table.lines.append(AddedLine(table.prefix + ".".join(key_text(name) for name in names), leaf, listed))
        for name in names[:-1]:
            table = _dotted(table, name)
        node = Listing(0, closed=True) if listed else leaf
        if isinstance(node, Listing):
            node.items.append(leaf)
        table.entries[names[-1]] = node

    def _section(self, table: Table, names: Sequence[str]) -> Table:
        """A new section at the end of the file: the table itself, which only headers of others named so far, or one below it."""
        for name in names:
            below = Table(Form.IMPLIED, table, name, (*(table.names or ()), name))
            table.entries[name] = below
            table = below
        table.form = Form.SECTION
        self._sections.append(table)
        # Its lines go below its header, not to a place in the file.
        self._owners.append(table)
        return table

    def written(self) -> str:
        """The text with all changes."""
        edits = [(leaf.start, leaf.end, leaf.written or "") for leaf in self._leaves.values() if leaf.end]
        edits += [(listing.start + 1, listing.start + 1, _spelling(listing.first)) for listing in self._listings]
        edits += [self._addition(owner) for owner in self._owners if owner not in self._sections]
        pieces: list[str] = []
        position = 0
        for start, end, piece in sorted(edits, key=lambda edit: edit[:2]):
            pieces += self._text[position:start], piece
            position = end
        pieces.append(self._text[position:])
        result = "".join(pieces) + self._tail("".join(pieces))
        return result.removesuffix(self._newline) if self._unended else result

    def _addition(self, owner: Table) -> _Edit:
        anchor = owner.anchor
        home = owner
        while home.form is Form.DOTTED and home.keyed_in is not None:
            home = home.keyed_in
        if home.form is Form.INLINE:
            pairs = ", ".join(_pair(line) for line in owner.lines)
            if home.entries and self._text[home.anchor - 1] != "{":
                return home.anchor, home.anchor, f", {pairs}"
            return home.anchor, home.anchor, f" {pairs}" if self._text[home.anchor] in " \t\r\n" else f" {pairs} "
        leads = owner is self.root and self._text.startswith("[", anchor) and not self._text[:anchor].strip("\ufeff")
        gap = self._newline if leads else ""
        return anchor, anchor, "".join(f"{owner.indent}{_pair(line)}{self._newline}" for line in owner.lines) + gap

    def _tail(self, before: str) -> str:
        """The new sections, each behind an empty line."""
        tail: list[str] = []
        for section in self._sections:
            header = ".".join(key_text(name) for name in section.names or ())
            if tail or (before.strip("\ufeff") and not before.endswith(self._newline * 2)):
                tail.append(self._newline)
            tail += f"[{header}]{self._newline}", *(f"{_pair(line)}{self._newline}" for line in section.lines)
        return "".join(tail)


def _dotted(table: Table, name: str) -> Table:
    """A new table that a key with dots makes; what is added to it later is written with it."""
    below = Table(Form.DOTTED, table, name, None)
    below.prefix = f"{table.prefix}{key_text(name)}."
    below.lines = table.lines
    table.entries[name] = below
    return below


def _spelling(leaf: TomlScalar | None) -> str:
    if leaf is None or leaf.written is None:
        raise ConfigFault("nothing is to be written")
    return leaf.written


def _pair(line: AddedLine) -> str:
    value = _spelling(line.leaf)
    return f"{line.key} = [{value}]" if line.listed else f"{line.key} = {value}"
