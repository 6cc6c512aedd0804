# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules carried out on the tree of a file, and the text that comes of them; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..definitions.definition import ConfigRule
from .fault import ConfigFault
from .paths import Every, Index, Step, steps_of
from .rules import ABSENT, KEEP, Present, wanted
from .splice import BYTE_ORDER_MARK, Edit, spliced
from .tree import Alias, Document, Leaf, List, Map, Node, equal

__all__ = ["carry_out", "rewritten"]

#: Places that all rules of a file together may look at: aliases of aliases would make a wildcard endless.
_MOST_PLACES = 200_000


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
