# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file of maps and lists as a tree that knows where each value stands in the text, and rules carried out on it; pure.

The parsers of JSON and YAML share it: they read the text into a tree, and write the new values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Union

from ..definitions.definition import ConfigRule
from .paths import Every, Index, Key, Step, index_of, steps_of
from .rules import ABSENT, KEEP, ConfigFault, Present, Value, same, wanted
from .splice import BYTE_ORDER_MARK, Edit, spliced

#: From and up to, in characters of the text.
Span = tuple[int, int]

#: Levels of maps and lists: more than any file has, few enough for recursion, ours and a reader's.
DEEPEST = 100
#: Values of one file. A real one has some thousands; these take about 200 MB and two seconds.
MOST_VALUES = 200_000
#: Places that all rules of a file together may look at: aliases of aliases would make a wildcard endless.
_MOST_PLACES = 200_000


@dataclass
class Leaf:
    """A value that is neither a map nor a list. ``span`` is where it stands, or None for what the file does not have yet."""

    value: Value
    span: Span | None = None
    #: To be written: at its span, or behind what stands in its map or list.
    new: bool = False
    #: Other places of the file mean this one.
    shared: bool = False
    #: Why it cannot be written, though it can be read.
    closed: str = ""
    #: Its text, where that is not seen from its value: of a key that is no text to YAML, such as ``on``.
    spelled: str = ""


@dataclass
class Alias:
    """A place that says what stands at another one, its ``target``."""

    name: str
    target: Leaf | Map | List
    span: Span | None
    new: bool = False


@dataclass
class Branch:
    """The common part of maps and lists. Of one in the file the reader tells the places that additions need."""

    span: Span | None = None
    new: bool = False
    shared: bool = False
    #: Within brackets or braces, as in JSON.
    flow: bool = True
    #: Where the first entry begins; the keys of a map, the values of a list.
    first: int = -1
    #: From the end of the last value but one (or the opening bracket) to the beginning of the last entry.
    gap: Span = (-1, -1)
    #: From the end of the last key to the beginning of its value.
    colon: Span = (-1, -1)
    #: The last value in the text, which is not that of the last key where one is given twice.
    last: Node | None = None
    #: What no path leads to: values of a key that is given again later, keys that are no text and their values.
    unreached: list[Node] = field(default_factory=list)


@dataclass
class Map(Branch):
    """Values by their keys; of equal keys the last one counts, as for every reader."""

    entries: dict[str, Node] = field(default_factory=dict)
    #: Maps whose values stand here where there is no value of its own (YAML's merge keys), the first one first.
    merged: list[Node] = field(default_factory=list)

    def children(self) -> Iterable[Node]:
        """Its values, in the order of their keys."""
        return self.entries.values()

    def places(self) -> Sequence[str | int]:
        """Its keys."""
        return list(self.entries)

    def place(self, step: Step, rule: ConfigRule) -> str:
        """The key that a step means."""
        if isinstance(step, Key):
            return step.name
        raise ConfigFault("its path has an index where the file has a map", rule)

    def get(self, place: str | int) -> Node | None:
        """The value of a key of its own, or None."""
        return self.entries.get(str(place))

    def put(self, place: str | int, node: Node) -> None:
        """Give a key a value."""
        self.entries[str(place)] = node


@dataclass
class List(Branch):
    """Values in their order."""

    items: list[Node] = field(default_factory=list)

    def children(self) -> Iterable[Node]:
        """Its items."""
        return self.items

    def places(self) -> Sequence[str | int]:
        """Its indexes."""
        return range(len(self.items))

    def place(self, step: Step, rule: ConfigRule) -> int:
        """The index that a step means: of an item, or of the one behind the last."""
        number = index_of(step)
        if number is None:
            raise ConfigFault("its path has a key where the file has a list", rule)
        if number > len(self.items):
            raise ConfigFault(f"its path has index {min(number, 10**9)} where the file has a list of {len(self.items)}", rule)
        return number

    def get(self, place: str | int) -> Node | None:
        """An item, or None for the one behind the last."""
        return self.items[int(place)] if int(place) < len(self.items) else None

    def put(self, place: str | int, node: Node) -> None:
        """Replace an item, or append one."""
        self.items[int(place) : int(place) + 1] = [node]


class Document(List):
    """A whole file: a list of the one value that it has, or of none."""


Node = Union[Leaf, Alias, Map, List]


def added(node: Map | List) -> list[tuple[str | None, Node]]:
    """Return the values added to a map or list of the file that have no place in it yet, with the keys in a map."""
    if isinstance(node, Map):
        return [(key, child) for key, child in node.entries.items() if child.new and child.span is None]
    return [(None, child) for child in node.items if child.new and child.span is None]


def equal(one: Node, other: Node) -> bool:
    """Tell whether two trees say the same, wherever it stands in the text."""
    if isinstance(one, Alias) or isinstance(other, Alias):
        return isinstance(one, Alias) and isinstance(other, Alias) and one.name == other.name
    if isinstance(one, Leaf) or isinstance(other, Leaf):
        return isinstance(one, Leaf) and isinstance(other, Leaf) and same(one.value, other.value)
    if type(one) is not type(other) or not _all_equal(one.unreached, other.unreached):
        return False
    if isinstance(one, Map) and isinstance(other, Map):
        return one.entries.keys() == other.entries.keys() and _all_equal(
            [*one.merged, *one.entries.values()], [*other.merged, *(other.entries[key] for key in one.entries)]
        )
    return _all_equal(list(one.children()), list(other.children()))


def _all_equal(ones: Sequence[Node], others: Sequence[Node]) -> bool:
    return len(ones) == len(others) and all(equal(one, other) for one, other in zip(ones, others))


@dataclass
class _Going:
    """A rule on its way."""

    rule: ConfigRule
    budget: list[int]
    #: What lies ahead stands in other places of the file as well.
    shared: bool = False
    #: Behind a wildcard: what cannot be gone through is not meant.
    lenient: bool = False


def carry_out(document: Document, rules: Sequence[ConfigRule]) -> None:
    """Change the tree as the rules say, one after the other.

    What is missing is created, maps for keys and lists for index 0, if a rule has no ``if_value``; so is what is null. Wildcards
    create nothing but what follows them. Raises `ConfigFault` for a path that leads through a value, ends at a map or a list, lies
    beyond the end of a list, or would change what other places share with it.
    """
    budget = [_MOST_PLACES]
    for rule in rules:
        _go(document, 0, steps_of(rule), _Going(rule, budget))


def _go(parent: Map | List, place: str | int, steps: Sequence[Step], going: _Going) -> None:
    going.budget[0] -= 1
    if going.budget[0] < 0:
        raise ConfigFault(f"the rules lead to more than {_MOST_PLACES} places", going.rule)
    node = parent.get(place)
    inherited = node is None and isinstance(parent, Map)
    node = _inherited(parent, str(place)) if inherited else node
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
    elif isinstance(steps[0], Every):
        for each in target.places():
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
    """Make the map or list that the rest of a path needs, in place of ``null`` or where nothing is."""
    step = steps[0]
    if isinstance(step, Every) or going.rule.if_value is not None:
        return
    _refuse_shared(null, going)
    span = None if null is None else null.span
    branch: Map | List = List(span=span, new=True) if isinstance(step, Index) else Map(span=span, new=True)
    at = branch.place(step, going.rule)
    parent.put(place, branch)
    _go(branch, at, steps[1:], _Going(going.rule, going.budget))


def _write(parent: Map | List, place: str | int, node: Node | None, going: _Going) -> None:
    target = node.target if isinstance(node, Alias) else node
    if isinstance(target, (Map, List)):
        if going.rule.if_value is None and not going.lenient:
            raise ConfigFault(f"its path ends at a {'map' if isinstance(target, Map) else 'list'}, which it would replace", going.rule)
        return
    present: Present = ABSENT if target is None else target.value
    value = wanted(going.rule, present)
    if value is KEEP:
        return
    own = parent.get(place)
    _refuse_shared(own, going)
    parent.put(place, Leaf(value, None if own is None else own.span, new=True))


def _refuse_shared(node: Node | None, going: _Going) -> None:
    """An alias itself may be replaced: what it means stays."""
    if going.shared or (node is not None and not isinstance(node, Alias) and node.shared):
        raise ConfigFault("it would also change other places of the file, which share this one by an anchor", going.rule)
    if isinstance(node, Leaf) and node.closed:
        raise ConfigFault(node.closed, going.rule)


def _inherited(parent: Map | List, key: str) -> Node | None:
    """Return the value that a merge key gives this key, the nearest one's."""
    for each in _merged(parent):
        if key in each.entries:
            return each.entries[key]
    return None


def _merged(parent: Map | List) -> Iterator[Map]:
    """The maps that a map takes values from, each once, however they refer to each other."""
    seen: set[int] = set()
    waiting = list(reversed(parent.merged)) if isinstance(parent, Map) else []
    while waiting:
        node = waiting.pop()
        target = node.target if isinstance(node, Alias) else node
        if isinstance(target, List):
            waiting += [] if id(target) in seen else reversed(target.items)
        elif isinstance(target, Map) and id(target) not in seen:
            yield target
            waiting += reversed(target.merged)
        seen.add(id(target))


def rewritten(
    text: str, rules: Sequence[ConfigRule], read: Callable[[str], Document], edits: Callable[[str, Document], Iterable[Edit]]
) -> str:
    """``text`` as ``rules`` say, ``edits`` writing what became new in the tree that ``read`` makes of it; a byte order mark stays.

    The result is read again: where more than the values that the rules mean has changed, that is a `ConfigFault`.
    """
    mark = BYTE_ORDER_MARK if text.startswith(BYTE_ORDER_MARK) else ""
    before = text[len(mark) :]
    document = read(before)
    carry_out(document, rules)
    after = spliced(before, edits(before, document))
    if after == before:
        return text
    try:
        intact = equal(document, read(after))
    except ConfigFault:
        intact = False
    if not intact:
        raise ConfigFault("it is written in a way in which these values cannot be changed without changing others")
    return mark + after
