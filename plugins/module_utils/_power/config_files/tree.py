# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file of maps and lists as a tree that knows where each value stands in the text; pure.

Shared by the parsers of JSON and YAML, which read the text into a tree, have `tree_rules` carry the rules out on it, and write what
became new.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Union

from ..definitions.definition import ConfigRule
from .fault import ConfigFault
from .paths import Key, Step, index_of
from .rules import Value, same

__all__ = ["DEEPEST", "MOST_VALUES", "Alias", "Branch", "Document", "Leaf", "List", "Map", "Node", "Span", "added", "equal"]

#: From and up to, in characters of the text.
Span = tuple[int, int]

#: Levels of maps and lists: more than any file has, few enough for recursion, ours and a reader's.
DEEPEST = 100
#: Values of one file. A real one has some thousands; these take about 200 MB and two seconds.
MOST_VALUES = 200_000


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
