# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parser ``xml``: the text or one attribute of elements, by path (see `xml_path`); pure.

As in Wings, a rule applies to every element of its path and creates missing ones, unless the path has a ``*``. An empty file gets a
declaration and the root element of the first rule. Unlike in Wings, the rest of the file stays, ``if_value`` works, ``[@name='x']`` creates
an element with that attribute, null is empty (Wings: ``<nil>``), and another root element is a fault. All values are text. A value may make
its own filter false, such as 2 for ``World[@id='1'].@id``. It is done if the path with the new value matches, and creates nothing.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Sequence

from ..model.config_rule import ConfigRule
from .rules import ABSENT, KEEP, Absent, ConfigFault, value_text, wanted
from .splice import Edit, spliced
from .xml_path import BLANKS, EVERY, PathStep, ValueFilter, XmlTarget, is_named, place_of, steps_afterwards
from .xml_tree import Element, TextRun, XmlDocument, is_bound, keeps_namespaces, read_xml

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TEXT = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_VALUE = {**_TEXT, "\n": "&#10;", "\t": "&#9;"}
_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>'
_STEP = "  "
#: Bytes searched for a line's indent; a wider indent is no layout.
_WIDEST = 400


def replace_xml(text: str, rules: Sequence[ConfigRule]) -> str:
    """Apply ``rules`` to ``text``. Raises `ConfigFault` for a bad file or rule."""
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
    """Refuse a result that is not XML, or that breaks namespaces that were intact."""
    try:
        document = read_xml(result)
    except ConfigFault as fault:
        raise ConfigFault(f"the rules would spoil the file: {fault}") from None
    if not keeps_namespaces(result, document.codec) and (
        not source.removeprefix(BOM_UTF8).strip() or keeps_namespaces(source, document.codec)
    ):
        raise ConfigFault("the rules would spoil the file's namespaces")


def _apply(document: XmlDocument, place: XmlTarget) -> list[Element]:
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
    """Refuse a new element that the next boot would not find, or whose name is unbound."""
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
    parents: list[Element | None] = [None]
    for step in steps:
        parents = [child for parent in parents for child in _children(document, parent, step)]
    return [element for element in parents if element is not None]


def _children(document: XmlDocument, parent: Element | None, step: PathStep) -> list[Element]:
    everything = parent.children if parent is not None else [] if document.root is None else [document.root]
    found = [child for child in everything if is_named(child.name, step.name)]
    for each in step.filters:
        if isinstance(each, int):
            found = found[each:][:1] if -len(found) <= each < len(found) else []
        else:
            found = [element for element in found if _passes(document, element, each)]
    return found


def _passes(document: XmlDocument, element: Element, wish: ValueFilter) -> bool:
    if wish.is_attribute:
        return wish.name in element.attributes and wish.value in (None, element.attributes[wish.name])
    named = (child for child in element.children if is_named(child.name, wish.name))
    return any(wish.value is None or document.bare_text(child) == wish.value for child in named)


def _create(document: XmlDocument, place: XmlTarget) -> tuple[Element, Element]:
    """Create the missing part of a path; return its last element, and the first changed or new one."""
    parent, depth = None, 0
    for length in range(1, len(place.steps)):
        found = _found(document, place.steps[:length])
        if not found:
            break
        parent, depth = found[0], length
    if parent is None and document.root is not None:
        raise ConfigFault("its match begins with another name than that of the file's root element", place.rule)
    new: list[Element] = []
    for step in place.steps[depth:]:
        above = new[-1] if new else parent
        new.append(Element(step.name, above, None, _attributes(step, place.rule)))
        if above is None:
            document.root = new[-1]
        else:
            above.children.append(new[-1])
    return new[-1], parent or new[0]


def _attributes(step: PathStep, rule: ConfigRule) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for wish in step.filters:
        if isinstance(wish, int) or not wish.is_attribute or wish.value is None or not fits_xml(wish.value):
            raise ConfigFault("nothing matches, and of a filter only [@name='value'] says what to create", rule)
        attributes[wish.name] = wish.value
    return attributes


def written(document: XmlDocument, changed: list[Element]) -> bytes:
    """Return the file with the ``changed`` elements. `fits_xml` must hold for all texts."""
    source, root = document.source, document.root
    if root is None:
        return source
    if root.start is None:
        newline = "\r\n" if b"\r\n" in source else "\n"
        text = f"{_DECLARATION}{newline}{_markup(root, '', newline, _STEP)}{newline}"
        return source.rstrip() + text.encode("utf-8")
    edits = [edit for element in changed if element.start is not None for edit in _edits(document, element)]
    # A reference replaces a character that the file's encoding lacks.
    errors = "strict" if document.codec == "utf-8" else "xmlcharrefreplace"
    return spliced(source, ((start, end, text.encode(document.codec, errors)) for start, end, text in edits))


def fits_xml(text: str) -> bool:
    """Tell whether XML can hold a text; most control characters have not even an escape."""
    return _FORBIDDEN.search(text) is None


def _escaped(text: str, table: dict[str, str]) -> str:
    return "".join(table.get(character, character) for character in text)


def _edits(document: XmlDocument, element: Element) -> Iterator[Edit]:
    """Yield the edits of one element, without its existing children."""
    tag = document.tag(element)
    for name, value in element.changed.items():
        span = tag.attributes.get(name)
        if span is None:
            yield tag.inner_end, tag.inner_end, _attribute(name, value)
            continue
        quote = document.source[span[0] - 1 : span[0]]
        yield span[0], span[1], _escaped(value, {**_VALUE, '"': "&quot;"} if quote == b'"' else {**_VALUE, "'": "&apos;"})
    added = [child for child in element.children if child.start is None]
    if tag.empty:
        if element.text or added:
            text = _escaped(element.text or "", _TEXT)
            yield tag.inner_end, tag.end, f">{text}{_added(document, element, added, True)}</{element.name}>"
        return
    if element.text is not None:
        yield from _text_edits(document, element, element.text, tag.end)
    if added:
        position = tag.end + len(document.source[tag.end : element.end].rstrip())
        yield position, position, _added(document, element, added, position == element.end)


def _attribute(name: str, value: str) -> str:
    return f' {name}="' + _escaped(value, {**_VALUE, '"': "&quot;"}) + '"'


def _text_edits(document: XmlDocument, element: Element, text: str, begin: int) -> Iterator[Edit]:
    """Yield edits of an element's own text: in its old place, else behind the start tag; comments and layout stay."""
    runs = document.runs(element)
    if not document.is_mixed(element):
        start, end = (runs[0].start, runs[-1].end) if runs else (begin, begin)
        fits_cdata = "]]>" not in text and "\r" not in text and (document.codec == "utf-8" or text.isascii())
        cdata = len(runs) == 1 and runs[0].cdata and fits_cdata
        yield start, end, f"<![CDATA[{text}]]>" if cdata else _escaped(text, _TEXT)
        return
    filled = [run for run in runs if run.text.strip(BLANKS)]
    if not filled:
        yield begin, begin, _escaped(text, _TEXT)
    for run in filled:
        start, end = _core(document.source, run)
        yield start, end, _escaped(text, _TEXT) if run is filled[0] else ""


def _core(source: bytes, run: TextRun) -> tuple[int, int]:
    """Return the bounds of a run without layout white space around it. CDATA and references are no layout."""
    if run.cdata:
        return run.start, run.end
    content = source[run.start : run.end]
    return run.end - len(content.lstrip()), run.start + len(content.rstrip())


def _added(document: XmlDocument, element: Element, added: list[Element], closes: bool) -> str:
    """Return new elements within an existing one, in its layout; ``closes``: up to its end tag."""
    if not added:
        return ""
    indent = _indent(document.source, element)
    standing = [child for child in element.children if child.start is not None]
    inner = next((found for found in (_indent(document.source, child) for child in reversed(standing)) if found is not None), None)
    if indent is None or (inner is None and (standing or document.bare_text(element))):
        return "".join(_markup(child, None, "", "") for child in added)
    newline = "\r\n" if b"\r\n" in document.source else "\n"
    step = "\t" if "\t" in indent + (inner or "") else _STEP
    inner = indent + step if inner is None else inner
    lines = "".join(f"{newline}{inner}{_markup(child, inner, newline, step)}" for child in added)
    return f"{lines}{newline}{indent}" if closes else lines


def _indent(source: bytes, element: Element) -> str | None:
    """Return the white space before an element, or None if it has no line of its own."""
    if element.start is None:
        return None
    before = source[max(element.start - _WIDEST, 0) : element.start]
    line = before[before.rfind(b"\n") + 1 :].removeprefix(BOM_UTF8)
    if line.strip() or (b"\n" not in before and element.start > _WIDEST):
        return None
    return line.decode("ascii")


def _markup(element: Element, indent: str | None, newline: str, step: str) -> str:
    """Return a new element with its content; ``indent`` None: in one line."""
    opening = f"<{element.name}" + "".join(_attribute(name, value) for name, value in element.attributes.items())
    text = _escaped(element.text or "", _TEXT)
    if not element.children:
        return f"{opening}>{text}</{element.name}>" if text else f"{opening}/>"
    inner = None if indent is None else indent + step
    lead = "" if inner is None else newline + inner
    children = "".join(lead + _markup(child, inner, newline, step) for child in element.children)
    return f"{opening}>{text}{children}{'' if indent is None else newline + indent}</{element.name}>"
