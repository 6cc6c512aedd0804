# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parser ``toml``: keys by their path, see `paths`. Wings knows no TOML; pure.

A rule sets a scalar in its present type and quotes; a date stays a date if the value is one. A missing key goes behind the last key of its
table, a missing table to the end of the file (in a list of tables or in braces: as a key with dots). ``list[0]`` is created in a missing or
empty list. A table or list in place of a scalar is a fault, as is a scalar on the way; behind a ``*`` they are skipped. Null is a fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..model.config_rule import ConfigRule
from .paths import Step, index_of, steps_of
from .rules import ABSENT, KEEP, ConfigFault, wanted
from .splice import Edit, spliced
from .toml_tree import AddedLine, Form, Listing, Node, Table, read_toml
from .toml_words import TomlScalar, Words, key_text


def replace_toml(text: str, rules: Sequence[ConfigRule]) -> str:
    """Apply ``rules`` to ``text``. Raises `ConfigFault` for a bad file or rule."""
    if not rules:
        return text
    draft = Draft(text)
    for rule in rules:
        try:
            _follow(draft, draft.root, steps_of(rule), rule, False)
        except ConfigFault as fault:
            raise ConfigFault(str(fault), rule) from None
    result = draft.written()
    if result == text:
        return text
    try:
        Draft(result)
    except ConfigFault as fault:
        raise ConfigFault(f"the rules would spoil the file: {fault}") from None
    return result


def _follow(draft: Draft, node: Node, steps: tuple[Step, ...], rule: ConfigRule, lenient: bool) -> None:
    """Follow a rule from ``node`` on; ``lenient``: the path had a ``*``, so misfits are skipped."""
    if not steps:
        _set(draft, node, rule, lenient)
    elif isinstance(node, TomlScalar):
        if not lenient:
            raise ConfigFault("its path runs through a value that is neither a table nor a list", rule)
    elif steps[0] is None:
        # A copy: following may add to it.
        for child in list(node.entries.values() if isinstance(node, Table) else node.items):
            _follow(draft, child, steps[1:], rule, True)
    elif isinstance(node, Table):
        _into_table(draft, node, steps, rule, lenient)
    else:
        _into_list(draft, node, steps, rule, lenient)


def _into_table(draft: Draft, table: Table, steps: tuple[Step, ...], rule: ConfigRule, lenient: bool) -> None:
    if isinstance(steps[0], str):
        node = table.entries.get(steps[0])
        if node is None:
            _create(draft, table, steps, rule)
        else:
            _follow(draft, node, steps[1:], rule, lenient)
    elif not lenient:
        raise ConfigFault("its path has an item of a list where there is a table", rule)


def _into_list(draft: Draft, listing: Listing, steps: tuple[Step, ...], rule: ConfigRule, lenient: bool) -> None:
    index = index_of(steps[0])
    if index is not None and index < len(listing.items):
        _follow(draft, listing.items[index], steps[1:], rule, lenient)
    elif index == 0 and len(steps) == 1 and listing.closed:
        leaf = _new(rule)
        if leaf is not None:
            draft.fill(listing, leaf)
    elif not lenient and rule.if_value is None:
        raise ConfigFault("its path has an item that the list does not have", rule)


def _create(draft: Draft, table: Table, steps: tuple[Step, ...], rule: ConfigRule) -> None:
    if None in steps:
        return
    leaf = _new(rule)
    if leaf is None:
        return
    listed = steps[-1] == 0
    names = [step for step in (steps[:-1] if listed else steps) if isinstance(step, str)]
    if len(names) + listed != len(steps):
        raise ConfigFault("its path has an item of a list that does not exist", rule)
    draft.add(table, names, leaf, listed)


def _set(draft: Draft, node: Node, rule: ConfigRule, lenient: bool) -> None:
    if not isinstance(node, TomlScalar):
        if lenient:
            return
        raise ConfigFault(f"its path ends at a {'table' if isinstance(node, Table) else 'list'}", rule)
    new = _new(rule, node)
    if new is not None:
        draft.replace(node, new)


def _new(rule: ConfigRule, present: TomlScalar | None = None) -> TomlScalar | None:
    """Return the scalar that a rule writes, in the style of the present one and as every reader parses it; None for no change."""
    value = wanted(rule, ABSENT if present is None else present.value)
    if value is KEEP:
        return None
    if value is None:
        raise ConfigFault("TOML has no null", rule)
    written = (present or TomlScalar(0, 0, "basic", "")).spelled(value)
    return replace(Words(written).scalar(), start=0, end=0, written=written)


class Draft:
    """A file with its changes; the tree shows them at once, the text in `written`."""

    def __init__(self, text: str) -> None:
        self._newline = "\r\n" if "\r\n" in text else "\n"
        #: A last line without an end temporarily gets one.
        self._unended = bool(text) and not text.endswith("\n")
        self._text = text + self._newline if self._unended else text
        self.root = read_toml(self._text)
        self._leaves: dict[int, TomlScalar] = {}
        self._listings: list[tuple[Listing, TomlScalar]] = []
        #: Tables that own the new lines at their anchors; tables that get a header.
        self._owners: list[Table] = []
        self._sections: list[Table] = []

    def replace(self, leaf: TomlScalar, new: TomlScalar) -> None:
        leaf.written, leaf.value, leaf.form = new.written, new.value, new.form
        self._leaves[id(leaf)] = leaf

    def fill(self, listing: Listing, leaf: TomlScalar) -> None:
        """Make ``leaf`` the first item of an empty list."""
        listing.items.append(leaf)
        self._listings.append((listing, leaf))

    def add(self, table: Table, names: Sequence[str], leaf: TomlScalar, listed: bool) -> None:
        """Add the key ``names`` below a table that lacks it; ``listed``: ``leaf`` is the only item of a list there."""
        while table.form is Form.IMPLIED and table.names is None and table.parent is not None:
            # No header leads here: a dotted key in the table above does.
            names, table = (table.name, *names), table.parent
        if table.names is not None and (table.form is Form.IMPLIED or (table.form is Form.SECTION and len(names) > 1)):
            table = self._section(table, names[:-1])
            names = names[-1:]
        if not table.lines and not any(owner.lines is table.lines for owner in self._owners):
            self._owners.append(table)
        table.lines.append(AddedLine(table.prefix + ".".join(key_text(name) for name in names), leaf, listed))
        for name in names[:-1]:
            table = _dotted(table, name)
        table.entries[names[-1]] = Listing(0, closed=True, items=[leaf]) if listed else leaf

    def _section(self, table: Table, names: Sequence[str]) -> Table:
        """Add a section at the end of the file: for the table itself, which so far only other headers imply, or one below it."""
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
        edits = [(leaf.start, leaf.end, leaf.written) for leaf in self._leaves.values() if leaf.end]
        edits += [(listing.start + 1, listing.start + 1, leaf.written) for listing, leaf in self._listings]
        edits += [self._addition(owner) for owner in self._owners if owner not in self._sections]
        body = spliced(self._text, edits)
        result = body + self._tail(body)
        return result.removesuffix(self._newline) if self._unended else result

    def _addition(self, owner: Table) -> Edit:
        anchor = owner.anchor
        home = owner
        while home.form is Form.DOTTED and home.keyed_in is not None:
            home = home.keyed_in
        if home.form is Form.INLINE:
            pairs = ", ".join(_pair(line) for line in owner.lines)
            if home.entries and self._text[home.anchor - 1] != "{":
                return home.anchor, home.anchor, f", {pairs}"
            return home.anchor, home.anchor, f" {pairs}" if self._text[home.anchor] in " \t\r\n" else f" {pairs} "
        leads = owner is self.root and self._text.startswith("[", anchor) and anchor == 0
        gap = self._newline if leads else ""
        return anchor, anchor, "".join(f"{owner.indent}{_pair(line)}{self._newline}" for line in owner.lines) + gap

    def _tail(self, before: str) -> str:
        tail: list[str] = []
        for section in self._sections:
            header = ".".join(key_text(name) for name in section.names or ())
            if tail or (before and not before.endswith(self._newline * 2)):
                tail.append(self._newline)
            tail += f"[{header}]{self._newline}", *(f"{_pair(line)}{self._newline}" for line in section.lines)
        return "".join(tail)


def _dotted(table: Table, name: str) -> Table:
    """Add a table that a dotted key makes; later additions go to the same line group."""
    below = Table(Form.DOTTED, table, name, None)
    below.prefix = f"{table.prefix}{key_text(name)}."
    below.lines = table.lines
    table.entries[name] = below
    return below


def _pair(line: AddedLine) -> str:
    value = line.leaf.written
    return f"{line.key} = [{value}]" if line.listed else f"{line.key} = {value}"
