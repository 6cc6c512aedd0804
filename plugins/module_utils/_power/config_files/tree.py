# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON or YAML as a tree of values with their positions, and the rules applied to it; the parsers read and write it; pure."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Union

from ..model.config_rule import ConfigRule
from ..model.records import dataclass, field
from .paths import Step, index_of, steps_of
from .rules import ABSENT, KEEP, ConfigFault, Value, same, wanted
from .splice import Edit, spliced

#: Start and end, in characters of the text.
Span = tuple[int, int]

#: Levels of maps and lists: more than any file has, few enough for recursion here and in readers.
DEEPEST = 100
#: Values of one file. A real one has some thousands; these take about 200 MB and two seconds.
MOST_VALUES = 200_000
#: Places that all rules of a file may visit: aliases of aliases would make a wildcard endless.
_MOST_PLACES = 200_000


@dataclass
class Leaf:
    """A value that is neither a map nor a list. ``span`` is its position, None if it is not in the file yet."""

    value: Value
    span: Span | None = None
    #: To write: at its span, or behind the content of its map or list.
    new: bool = False
    #: Other places of the file refer to it.
    shared: bool = False
    #: Why it cannot be written, though it can be read.
    closed: str = ""
    #: The text of a key that YAML reads as another type, such as ``on``.
    spelled: str = ""


@dataclass
class Alias:
    """A reference to another place, its ``target``."""

    name: str
    target: Leaf | Map | List
    span: Span | None
    new: bool = False


@dataclass
class Branch:
    """Values by key or index; the last of equal keys counts, as for every reader. The reader sets the positions that additions need."""

    entries: dict[str | int, Node] = field(default_factory=dict)
    span: Span | None = None
    new: bool = False
    shared: bool = False
    flow: bool = True
    #: The start of the first entry: a map's key, a list's value.
    first: int = -1
    #: From the end of the last value but one (or the opening bracket) to the beginning of the last entry.
    gap: Span = (-1, -1)
    #: From the end of the last key to the beginning of its value.
    colon: Span = (-1, -1)
    #: The last value in the text; with repeated keys, not always the value of the last key.
    last: Node | None = None
    #: Nodes without a path: overridden values of repeated keys, and keys that are not text, with their values.
    unreached: list[Node] = field(default_factory=list)
    #: Maps that provide missing values of a map (YAML's merge keys), in order.
    merged: list[Node] = field(default_factory=list)

    def pairs(self) -> Iterable[tuple[str | None, Node]]:
        return ((key if isinstance(key, str) else None, child) for key, child in self.entries.items())


class Map(Branch):
    def place(self, step: Step, rule: ConfigRule) -> str:
        if isinstance(step, str):
            return step
        raise ConfigFault("its path has an index where the file has a map", rule)


class List(Branch):
    def place(self, step: Step, rule: ConfigRule) -> int:
        """Return the index of a step: of an item, or of the place behind the last."""
        number = index_of(step)
        if number is None:
            raise ConfigFault("its path has a key where the file has a list", rule)
        if number > len(self.entries):
            raise ConfigFault(f"its path has index {min(number, 10**9)} where the file has a list of {len(self.entries)}", rule)
        return number


class Document(List):
    """A whole file: a list of one value or none."""


Node = Union[Leaf, Alias, Map, List]


def added(node: Map | List) -> list[tuple[str | None, Node]]:
    """Return the values of a map or list that are not in the file yet, with their keys in a map."""
    return [(key, child) for key, child in node.pairs() if child.new and child.span is None]


def equal(one: Node, other: Node) -> bool:
    if isinstance(one, Alias) or isinstance(other, Alias):
        return isinstance(one, Alias) and isinstance(other, Alias) and one.name == other.name
    if isinstance(one, Leaf) or isinstance(other, Leaf):
        return isinstance(one, Leaf) and isinstance(other, Leaf) and same(one.value, other.value)
    if type(one) is not type(other) or one.entries.keys() != other.entries.keys() or not _all_equal(one.unreached, other.unreached):
        return False
    return _all_equal([*one.merged, *one.entries.values()], [*other.merged, *(other.entries[key] for key in one.entries)])


def _all_equal(ones: Sequence[Node], others: Sequence[Node]) -> bool:
    return len(ones) == len(others) and all(equal(one, other) for one, other in zip(ones, others))


@dataclass
class _Going:
    rule: ConfigRule
    budget: list[int]
    #: The rest of the path is shared with other places.
    shared: bool = False
    #: Behind a wildcard: misfits are skipped.
    lenient: bool = False


def carry_out(document: Document, rules: Sequence[ConfigRule]) -> None:
    """Apply the rules to the tree, in order.

    A rule without ``if_value`` creates missing or null parts: maps for keys, lists for index 0. Wildcards create only parts behind them.
    Raises `ConfigFault` for a path that leads through a value, ends at a map or a list, lies beyond a list's end, or changes shared values.
    """
    budget = [_MOST_PLACES]
    for rule in rules:
        _go(document, 0, steps_of(rule), _Going(rule, budget))


def _go(parent: Map | List, place: str | int, steps: Sequence[Step], going: _Going) -> None:
    going.budget[0] -= 1
    if going.budget[0] < 0:
        raise ConfigFault(f"the rules lead to more than {_MOST_PLACES} places", going.rule)
    node = parent.entries.get(place)
    inherited = node is None and isinstance(parent, Map)
    if inherited:
        node = next((each.entries[place] for each in _merged(parent) if place in each.entries), None)
    if not steps:
        _write(parent, place, node, going)
        return
    target = node.target if isinstance(node, Alias) else node
    shared = going.shared or target is not node or (target is not None and (target.shared or (inherited and not target.new)))
    if target is None or (isinstance(target, Leaf) and target.value is None):
        _create(parent, place, node if not inherited else None, steps, going)
    elif isinstance(target, Leaf):
        if not going.lenient:
            raise ConfigFault("its path leads through something that is neither a map nor a list", going.rule)
    elif steps[0] is None:
        for each in list(target.entries):
            _go(target, each, steps[1:], _Going(going.rule, going.budget, shared, lenient=True))
    else:
        try:
            at = target.place(steps[0], going.rule)
        except ConfigFault:
            if going.lenient:
                return
            raise
        _go(target, at, steps[1:], _Going(going.rule, going.budget, shared, going.lenient))


def _create(parent: Map | List, place: str | int, null: Node | None, steps: Sequence[Step], going: _Going) -> None:
    step = steps[0]
    if None in steps or going.rule.if_value is not None:
        return
    _refuse_shared(null, going)
    branch = (List if isinstance(step, int) else Map)(span=None if null is None else null.span, new=True)
    at = branch.place(step, going.rule)
    parent.entries[place] = branch
    _go(branch, at, steps[1:], _Going(going.rule, going.budget))


def _write(parent: Map | List, place: str | int, node: Node | None, going: _Going) -> None:
    target = node.target if isinstance(node, Alias) else node
    if isinstance(target, (Map, List)):
        if going.rule.if_value is None and not going.lenient:
            raise ConfigFault(f"its path ends at a {'map' if isinstance(target, Map) else 'list'}, which it would replace", going.rule)
        return
    value = wanted(going.rule, ABSENT if target is None else target.value)
    if value is KEEP:
        return
    own = parent.entries.get(place)
    _refuse_shared(own, going)
    parent.entries[place] = Leaf(value, None if own is None else own.span, new=True)


def _refuse_shared(node: Node | None, going: _Going) -> None:
    """Refuse a shared value. An alias itself may be replaced: its target stays."""
    if going.shared or (node is not None and not isinstance(node, Alias) and node.shared):
        raise ConfigFault("it would also change other places of the file, which share this one by an anchor", going.rule)
    if isinstance(node, Leaf) and node.closed:
        raise ConfigFault(node.closed, going.rule)


def _merged(parent: Map | List) -> Iterator[Map]:
    """Yield the merged maps of a map, each once, also with circular references."""
    seen: set[int] = set()
    waiting = list(reversed(parent.merged))
    while waiting:
        node = waiting.pop()
        target = node.target if isinstance(node, Alias) else node
        if isinstance(target, List):
            waiting += [] if id(target) in seen else reversed(target.entries.values())
        elif isinstance(target, Map) and id(target) not in seen:
            yield target
            waiting += reversed(target.merged)
        seen.add(id(target))


def rewritten(
    text: str, rules: Sequence[ConfigRule], read: Callable[[str], Document], edits: Callable[[str, Document], Iterable[Edit]]
) -> str:
    """Return ``text`` changed by ``rules``. An unintended change in the result is a `ConfigFault`."""
    document = read(text)
    carry_out(document, rules)
    after = spliced(text, edits(text, document))
    if after == text:
        return text
    with contextlib.suppress(ConfigFault):
        if equal(document, read(after)):
            return after
    raise ConfigFault("a change of these values would also change others")
