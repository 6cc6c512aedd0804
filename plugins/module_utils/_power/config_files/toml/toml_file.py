# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parser ``toml``: keys by their path, as `paths` has it. Wings knows no TOML; pure.

A rule sets a scalar in the type and the quotes that stand; a date stays a date if the value is one. A missing key is added behind the
last key of its table, a missing table at the end of the file (in a list of tables or in braces: as a key with dots), ``list[0]`` is made
where the list is missing or empty. A rule that meets a table or a list where a scalar should be, or a scalar on its way, is a fault,
except behind a ``*``, which passes over what it does not fit. TOML has no null: a rule that would write it is a fault.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...definitions.definition import ConfigRule
from ..fault import ConfigFault
from ..paths import Every, Index, Key, Step, index_of, steps_of
from ..rules import ABSENT, KEEP, wanted
from .toml_edit import Draft
from .toml_tree import Listing, Node, Table
from .toml_words import TomlScalar, Words

__all__ = ["replace_toml"]


def replace_toml(text: str, rules: Sequence[ConfigRule]) -> str:
    """``text`` with what ``rules`` name set. Raises `ConfigFault` for a file or a rule that cannot be followed."""
    if not rules:
        return text
    draft = Draft(text)
    for rule in rules:
        try:
            _follow(draft, draft.root, steps_of(rule), rule, False)
        except ConfigFault as fault:
            raise ConfigFault(str(fault), rule) from None
    result = draft.written()
    if result != text:
        _proof(result)
    return result


def _proof(result: str) -> None:
    """Refuse a result that is no TOML, whatever a rule says."""
    try:
        Draft(result)
    except ConfigFault as fault:
        raise ConfigFault(f"the rules would spoil the file: {fault}") from None


def _follow(draft: Draft, node: Node, steps: tuple[Step, ...], rule: ConfigRule, lenient: bool) -> None:
    """Follow a rule from ``node`` on; ``lenient``: a ``*`` lies behind, so that what does not fit is passed over."""
    if not steps:
        _set(draft, node, rule, lenient)
    elif isinstance(steps[0], Every):
        # A list of its own: following may add to what is walked.
        for child in list(_children(node)):
            _follow(draft, child, steps[1:], rule, True)
        if isinstance(node, TomlScalar) and not lenient:
            raise ConfigFault("its path runs through a value that is neither a table nor a list", rule)
    elif isinstance(node, Table):
        _into_table(draft, node, steps, rule, lenient)
    elif isinstance(node, Listing):
        _into_list(draft, node, steps, rule, lenient)
    elif not lenient:
        raise ConfigFault("its path runs through a value that is neither a table nor a list", rule)


def _children(node: Node) -> list[Node]:
    if isinstance(node, Table):
        return list(node.entries.values())
    return node.items if isinstance(node, Listing) else []


def _into_table(draft: Draft, table: Table, steps: tuple[Step, ...], rule: ConfigRule, lenient: bool) -> None:
    if isinstance(steps[0], Key):
        node = table.entries.get(steps[0].name)
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
        leaf = _new_leaf(rule)
        if leaf is not None:
            draft.fill(listing, leaf)
    elif not lenient and rule.if_value is None:
        raise ConfigFault("its path has an item that the list does not have", rule)


def _create(draft: Draft, table: Table, steps: tuple[Step, ...], rule: ConfigRule) -> None:
    """Add the rest of a path to the table that has none of it."""
    if any(isinstance(step, Every) for step in steps):
        return
    leaf = _new_leaf(rule)
    if leaf is None:
        return
    listed = steps[-1] == Index(0)
    names = [step.name for step in (steps[:-1] if listed else steps) if isinstance(step, Key)]
    if len(names) + listed != len(steps):
        raise ConfigFault("its path has an item of a list that does not exist", rule)
    draft.add(table, names, leaf, listed)


def _new_leaf(rule: ConfigRule) -> TomlScalar | None:
    """Return the scalar that a rule writes where nothing stands, None if it writes none."""
    value = wanted(rule, ABSENT)
    if value is KEEP:
        return None
    if value is None:
        raise ConfigFault("TOML has no null", rule)
    leaf = TomlScalar(0, 0, "basic", value)
    leaf.written = leaf.spelled(value)
    return _shown(leaf.written)


def _set(draft: Draft, node: Node, rule: ConfigRule, lenient: bool) -> None:
    """Set a scalar as the rule says."""
    if not isinstance(node, TomlScalar):
        if lenient:
            return
        raise ConfigFault(f"its path ends at a {'table' if isinstance(node, Table) else 'list'}", rule)
    value = wanted(rule, node.value)
    if value is KEEP:
        return
    if value is None:
        raise ConfigFault("TOML has no null", rule)
    written = node.spelled(value)
    draft.replace(node, written, _shown(written))


def _shown(written: str) -> TomlScalar:
    """Read a scalar that we write, as every reader will."""
    shown = Words(written).scalar()
    shown.start, shown.end, shown.written = 0, 0, written
    return shown
