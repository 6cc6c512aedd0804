# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parser ``xml``: the text or one attribute of elements, found by their path; `xml_path` says how a path is written; pure.

As in Wings a rule holds for every element that its path leads to, missing elements are created unless the path has a ``*``, and an empty
file gets a declaration and the root element that the first rule names. Unlike Wings the rest of the file stays as it is, ``if_value``
has its meaning, ``[@name='x']`` creates an element with that attribute, null is empty (Wings writes ``<nil>``), and a path that begins
with another root element than the file's is a fault. All values are text. A rule whose value makes its own filter false, such as
``World[@id='1'].@id`` with the value 2, is done where the same path with the new value leads somewhere, and creates nothing.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterable, Sequence

from ...definitions.definition import ConfigRule
from ..fault import ConfigFault
from ..rules import ABSENT, KEEP, Absent, value_text, wanted
from .xml_edit import fits_xml, written
from .xml_path import EVERY, AttributeFilter, ChildFilter, Filter, PathStep, XmlTarget, is_named, place_of, steps_afterwards
from .xml_tree import BLANKS, Element, XmlDocument, is_bound, keeps_namespaces, read_xml

__all__ = ["replace_xml"]


def replace_xml(text: str, rules: Sequence[ConfigRule]) -> str:
    """``text`` with what ``rules`` name set. Raises `ConfigFault` for a file or a rule that cannot be followed."""
    if not rules:
        return text
    places = [place_of(rule) for rule in rules]
    try:
        source = text.encode("utf-8", "surrogateescape")
        document = read_xml(source)
        changed: dict[int, Element] = {}
        for rule, place in zip(rules, places):
            try:
                changed.update((id(element), element) for element in _apply(document, place))
            except ConfigFault as fault:
                raise ConfigFault(str(fault), rule) from None
        result = written(document, list(changed.values())) if changed else source
    except UnicodeError:
        raise ConfigFault("the file or a name in match holds characters that the file's encoding lacks") from None
    if result != source:
        _proof(source, result)
    return result.decode("utf-8", "surrogateescape")


def _proof(source: bytes, result: bytes) -> None:
    """Refuse a result that is no XML, whatever a rule says, or breaks the rules of namespaces where the file did not."""
    try:
        document = read_xml(result)
    except ConfigFault as fault:
        raise ConfigFault(f"the rules would spoil the file: {fault}") from None
    if not keeps_namespaces(result, document.codec) and (
        not source.removeprefix(BOM_UTF8).strip() or keeps_namespaces(source, document.codec)
    ):
        raise ConfigFault("the rules would spoil the file's namespaces")


def _apply(document: XmlDocument, place: XmlTarget) -> list[Element]:
    """Follow one rule; the elements that are new or have changed."""
    found = _found(document, place.steps)
    afterwards = steps_afterwards(place)
    changed = [element for element in found if _set(document, element, place)]
    if found or any(step.name == EVERY for step in place.steps) or wanted(place.rule, ABSENT) is KEEP:
        return changed
    if afterwards is not None:
        if _found(document, afterwards):
            return []
        raise ConfigFault("nothing matches, and its value makes its own filter false, so that nothing can be created", place.rule)
    last, touched = _create(document, place)
    _set(document, last, place)
    _proof_of_new(document, last, place)
    return [touched]


def _proof_of_new(document: XmlDocument, last: Element, place: XmlTarget) -> None:
    """Refuse what was created if it would not be found at the next boot, or has a name that means nothing."""
    if not any(element is last for element in _found(document, place.steps)):
        raise ConfigFault("nothing matches, and what it would create would not match either", place.rule)
    element: Element | None = last
    while element is not None and element.start is None:
        for name in (element.name, *element.attributes):
            _refuse_unbound(element, name, place.rule, is_element=name is element.name)
        element = element.parent


def _refuse_unbound(element: Element, name: str, rule: ConfigRule, *, is_element: bool) -> None:
    if not is_bound(element, name, is_element=is_element):
        raise ConfigFault("its match names a prefix that the file does not declare there, so nothing can be created", rule)


def _set(document: XmlDocument, element: Element, place: XmlTarget) -> bool:
    """Set the text or attribute of one element as the rule says; whether that changed anything."""
    present: str | Absent = document.text(element)
    if place.attribute is not None:
        present = element.attributes.get(place.attribute, ABSENT)
    value = wanted(place.rule, present)
    if value is KEEP:
        return False
    text = value_text(value)
    if text == present:
        return False
    if not fits_xml(text):
        raise ConfigFault("its value has a character that XML cannot hold", place.rule)
    if place.attribute is not None:
        is_new = place.attribute not in element.attributes
        element.attributes[place.attribute] = text
        element.changed[place.attribute] = text
        if is_new:
            _refuse_unbound(element, place.attribute, place.rule, is_element=False)
        return True
    if text.strip(BLANKS) == present and document.is_mixed(element):
        return False
    element.text = text
    return True


def _found(document: XmlDocument, steps: Iterable[PathStep]) -> list[Element]:
    """Every element that a path leads to, in the order of the file."""
    parents: list[Element | None] = [None]
    for step in steps:
        parents = [child for parent in parents for child in _children(document, parent, step)]
    return [element for element in parents if element is not None]


def _children(document: XmlDocument, parent: Element | None, step: PathStep) -> list[Element]:
    """Return the elements that one step leads to from one element, or from above the root."""
    everything = parent.children if parent is not None else [] if document.root is None else [document.root]
    found = [child for child in everything if is_named(child.name, step.name)]
    for rule in step.filters:
        found = _filtered(document, found, rule)
    return found


def _filtered(document: XmlDocument, elements: list[Element], rule: Filter) -> list[Element]:
    if isinstance(rule, AttributeFilter):
        return [
            element
            for element in elements
            if rule.name in element.attributes and (rule.value is None or element.attributes[rule.name] == rule.value)
        ]
    if isinstance(rule, ChildFilter):
        return [element for element in elements if _has_child(document, element, rule)]
    return elements[rule.index :][:1] if -len(elements) <= rule.index < len(elements) else []


def _has_child(document: XmlDocument, element: Element, rule: ChildFilter) -> bool:
    return any(
        is_named(child.name, rule.name) and (rule.text is None or document.bare_text(child) == rule.text) for child in element.children
    )


def _create(document: XmlDocument, place: XmlTarget) -> tuple[Element, Element]:
    """Make the missing part of a path: its last element, and the first that was changed or made."""
    parent, depth = None, 0
    for length in range(1, len(place.steps)):
        found = _found(document, place.steps[:length])
        if not found:
            break
        parent, depth = found[0], length
    if parent is None and document.root is not None:
        raise ConfigFault("its match begins with another name than that of the file's root element", place.rule)
    touched = parent
    for step in place.steps[depth:]:
        child = Element(step.name, parent, None, _attributes(step, place.rule))
        if parent is None:
            document.root = child
        else:
            parent.children.append(child)
        touched = child if touched is None else touched
        parent = child
    if parent is None or touched is None:
        raise ConfigFault("its match is not a path", place.rule)
    return parent, touched


def _attributes(step: PathStep, rule: ConfigRule) -> dict[str, str]:
    """The attributes that a new element must have to be found again."""
    attributes: dict[str, str] = {}
    for wish in step.filters:
        if not isinstance(wish, AttributeFilter) or wish.value is None or not fits_xml(wish.value):
            raise ConfigFault("nothing matches, and of a filter only [@name='value'] says what to create", rule)
        attributes[wish.name] = wish.value
    return attributes
