# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing what changed in a tree of `xml_tree` into the bytes of its file; every other byte is copied; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Union

from .xml_tree import BLANKS, Element, TextRun, XmlDocument

__all__ = ["fits_xml", "written"]

#: What is put in place of the bytes between two offsets.
_Edit = tuple[int, int, str]

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TEXT = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_VALUE = {**_TEXT, "\n": "&#10;", "\t": "&#9;"}
_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>'
_STEP = "  "
#: Looked at to tell how a line is indented; whoever indents by more has no layout to keep.
_WIDEST = 400
#: Where there are no lines to keep to: everything in one.
_Layout = Union[str, None]


def written(document: XmlDocument, changed: list[Element]) -> bytes:
    """The file with the elements of ``changed`` as they shall be. All texts are such as `fits_xml` takes."""
    source, root = document.source, document.root
    if root is None:
        return source
    if root.start is None:
        newline = "\r\n" if b"\r\n" in source else "\n"
        text = f"{_DECLARATION}{newline}{_markup(root, '', newline, _STEP)}{newline}"
        return source.rstrip() + text.encode("utf-8")
    edits = [edit for element in changed if element.start is not None for edit in _edits(document, element)]
    pieces: list[bytes] = []
    position = 0
    for start, end, text in sorted(edits, key=lambda edit: edit[0]):
        pieces += source[position:start], _encoded(text, document.codec)
        position = end
    return b"".join([*pieces, source[position:]])


def _encoded(text: str, codec: str) -> bytes:
    """Encode text as the file is; a reference stands for a character that its encoding lacks."""
    return text.encode(codec, "strict" if codec == "utf-8" else "xmlcharrefreplace")


def fits_xml(text: str) -> bool:
    """Tell whether XML can hold a text at all; most control characters have not even an escaped form."""
    return _FORBIDDEN.search(text) is None


def _escaped(text: str, table: dict[str, str]) -> str:
    return "".join(table.get(character, character) for character in text)


def _edits(document: XmlDocument, element: Element) -> Iterator[_Edit]:
    """Yield the edits of one element of the file, without those of the file's own elements in it."""
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
        position = _last_mark(document.source, tag.end, element.end)
        yield position, position, _added(document, element, added, position == element.end)


def _attribute(name: str, value: str) -> str:
    return f' {name}="' + _escaped(value, {**_VALUE, '"': "&quot;"}) + '"'


def _text_edits(document: XmlDocument, element: Element, text: str, begin: int) -> Iterator[_Edit]:
    """An element's own text: written where there was some, else behind the start tag; comments and layout stay."""
    runs = document.runs(element)
    if not document.is_mixed(element):
        start, end = (runs[0].start, runs[-1].end) if runs else (begin, begin)
        cdata = len(runs) == 1 and runs[0].cdata and _fits_cdata(text, document.codec)
        yield start, end, f"<![CDATA[{text}]]>" if cdata else _escaped(text, _TEXT)
        return
    filled = [run for run in runs if run.text.strip(BLANKS)]
    if not filled:
        yield begin, begin, _escaped(text, _TEXT)
    for run in filled:
        start, end = _core(document.source, run)
        yield start, end, _escaped(text, _TEXT) if run is filled[0] else ""


def _core(source: bytes, run: TextRun) -> tuple[int, int]:
    """A run without the white space around it, which is layout. That in a CDATA section, or said by a reference, is not."""
    if run.cdata:
        return run.start, run.end
    content = source[run.start : run.end]
    return run.end - len(content.lstrip()), run.start + len(content.rstrip())


def _fits_cdata(text: str, codec: str) -> bool:
    return "]]>" not in text and "\r" not in text and (codec == "utf-8" or text.isascii())


def _last_mark(source: bytes, begin: int, end: int) -> int:
    """Return where the white space in front of an end tag begins."""
    return begin + len(source[begin:end].rstrip())


def _added(document: XmlDocument, element: Element, added: list[Element], closes: bool) -> str:
    """New elements in one of the file's own, laid out as what it holds already; ``closes``: up to its end tag."""
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


def _indent(source: bytes, element: Element) -> _Layout:
    """The white space in front of an element, or None where it does not stand on a line of its own."""
    if element.start is None:
        return None
    before = source[max(element.start - _WIDEST, 0) : element.start]
    line = before[before.rfind(b"\n") + 1 :].removeprefix(b"\xef\xbb\xbf")
    if line.strip() or (b"\n" not in before and element.start > _WIDEST):
        return None
    return line.decode("ascii")


def _markup(element: Element, indent: _Layout, newline: str, step: str) -> str:
    """A new element and all that it holds; ``indent`` None: in one line."""
    opening = f"<{element.name}" + "".join(_attribute(name, value) for name, value in element.attributes.items())
    text = _escaped(element.text or "", _TEXT)
    if not element.children:
        return f"{opening}>{text}</{element.name}>" if text else f"{opening}/>"
    inner = None if indent is None else indent + step
    lead = "" if inner is None else newline + inner
    children = "".join(lead + _markup(child, inner, newline, step) for child in element.children)
    return f"{opening}>{text}{children}{'' if indent is None else newline + indent}</{element.name}>"
