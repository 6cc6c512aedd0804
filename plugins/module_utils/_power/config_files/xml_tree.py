# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An XML file as a tree of elements with their positions. Only for reading; `xml_file` writes; pure.

Expat checks the syntax and gives the positions of elements; external references are not followed, and own entities are refused. Attributes
and text are read from the bytes on demand.
"""

from __future__ import annotations

import codecs
import re
from typing import Any
from xml.parsers import expat

from ..model.records import dataclass, field
from .rules import ConfigFault
from .xml_path import BLANKS

_MOST_ELEMENTS = 100_000
_MOST_SIGNS = 400_000
#: Declared attributes: expat visits all of an element for each such element.
_MOST_DECLARED = 100
_DEEPEST = 256

_DECLARED = re.compile(rb"""<\?xml[^>]{0,200}?\sencoding[ \t\r\n]*=[ \t\r\n]*["']([A-Za-z0-9._-]{1,40})["']""")
#: Encodings in which a byte below 128 is always ASCII: only these can be edited by position.
_KNOWN = re.compile(r"utf-?8|(?:us-)?ascii|iso-8859-[0-9]{1,2}|windows-125[0-9]", re.IGNORECASE)

_NAME = re.compile(rb"<([^\s/>]+)")
_ATTRIBUTE = re.compile(rb"""\s+([^\s=/>]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_CONTENT = re.compile(rb"<!--.*?-->|<\?.*?\?>|(<!\[CDATA\[.*?\]\]>)|([^<]+)", re.DOTALL)
_REFERENCE = re.compile(r"&(?:#x([0-9A-Fa-f]+)|#([0-9]+)|(\w+));")
_PREDEFINED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}
_LINE_END = re.compile(r"\r\n?")


@dataclass(eq=False)
class Element:
    """An element of the file, or (``start`` None) of a rule. ``changed``: its attributes that differ from the file's.

    ``start`` and ``end`` are the byte offsets of its tags; ``end`` is meaningless without an end tag.
    """

    name: str
    parent: Element | None
    start: int | None
    attributes: dict[str, str]
    end: int = 0
    children: list[Element] = field(default_factory=list)
    changed: dict[str, str] = field(default_factory=dict)
    #: The text from a rule, or None for the file's.
    text: str | None = None


@dataclass(frozen=True)
class Tag:
    """A start tag: the ends of its attributes and of itself, and the bytes between each attribute's quotes."""

    inner_end: int
    end: int
    empty: bool
    attributes: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class TextRun:
    """A piece of an element's own text between ``start`` and ``end`` (with the marks of a CDATA section)."""

    start: int
    end: int
    cdata: bool
    text: str


class XmlDocument:
    """The bytes of a file and its tree. ``root`` is None for an empty file."""

    def __init__(self, source: bytes, codec: str) -> None:
        self.source = source
        self.codec = codec
        self.root: Element | None = None
        self._bare: dict[Element, str] = {}

    def tag(self, element: Element) -> Tag:
        start = 0 if element.start is None else element.start
        name = _NAME.match(self.source, start)
        position = start if name is None else name.end()
        spans: dict[str, tuple[int, int]] = {}
        while found := _ATTRIBUTE.match(self.source, position):
            group = 2 if found.group(2) is not None else 3
            spans[found.group(1).decode(self.codec)] = found.span(group)
            position = found.end()
        close = self.source.index(b">", position)
        return Tag(position, close + 1, self.source[close - 1 : close] == b"/", spans)

    def runs(self, element: Element) -> list[TextRun]:
        """Return the pieces of an element's text before its first child element."""
        if element.start is None:
            return []
        tag = self.tag(element)
        if tag.empty:
            return []
        first = next((child.start for child in element.children if child.start is not None), element.end)
        runs = []
        # It matches without gaps up to the first child.
        for found in _CONTENT.finditer(self.source, tag.end, first):
            cdata, plain = found.groups()
            if cdata is not None:
                runs.append(TextRun(*found.span(), True, _LINE_END.sub("\n", cdata[9:-3].decode(self.codec))))
            elif plain is not None:
                runs.append(TextRun(*found.span(), False, _unescaped(_LINE_END.sub("\n", plain.decode(self.codec)))))
        return runs

    def text(self, element: Element) -> str:
        """Return an element's text up to its first child, without comments; white space around it counts only if it has nothing else."""
        if element.text is not None:
            return element.text
        text = "".join(run.text for run in self.runs(element))
        return text.strip(BLANKS) if self.is_mixed(element) else text

    def bare_text(self, element: Element) -> str:
        """Return an element's text without white space around it; the file's text is cached."""
        if element.text is not None:
            return element.text.strip(BLANKS)
        if element not in self._bare:
            self._bare[element] = self.text(element).strip(BLANKS)
        return self._bare[element]

    def is_mixed(self, element: Element) -> bool:
        """Tell whether an element holds more than text, so that white space around its text is layout."""
        if element.children or element.start is None:
            return bool(element.children)
        tag = self.tag(element)
        return not tag.empty and sum(run.end - run.start for run in self.runs(element)) < element.end - tag.end


def _unescaped(text: str) -> str:
    def character(found: re.Match[str]) -> str:
        hexadecimal, decimal, name = found.groups()
        if name is not None:
            return _PREDEFINED.get(name, found.group())
        return chr(int(hexadecimal, 16) if hexadecimal else int(decimal))

    return _REFERENCE.sub(character, text) if "&" in text else text


def read_xml(source: bytes) -> XmlDocument:
    """Return the tree of a file. Raises `ConfigFault` for bad or too large XML, own entities, or an unknown encoding."""
    document = XmlDocument(source, _codec(source))
    if source.removeprefix(codecs.BOM_UTF8).strip():
        if source.count(b"<") > _MOST_SIGNS or source.count(b"=") > _MOST_SIGNS:
            raise ConfigFault(f"the file has more than {_MOST_SIGNS} tags or attributes")
        _XmlReader(document).read()
    return document


def keeps_namespaces(source: bytes, codec: str) -> bool:
    """Tell whether well-formed XML also follows the rules of namespaces, as most libraries require."""
    try:
        expat.ParserCreate(codec, "}").Parse(source, True)
    except expat.ExpatError:
        return False
    return True


def is_bound(element: Element, name: str, *, is_element: bool) -> bool:
    """Tell whether the name of an element or attribute has no prefix or a declared one."""
    prefix, colon, local = name.partition(":")
    if not colon:
        return True
    if not local or ":" in local or prefix == "xmlns":
        return bool(local) and ":" not in local and not is_element
    place: Element | None = element
    while place is not None and f"xmlns:{prefix}" not in place.attributes:
        place = place.parent
    return place is not None or prefix == "xml"


def _codec(source: bytes) -> str:
    declared = _DECLARED.match(source.removeprefix(codecs.BOM_UTF8))
    name = "utf-8" if declared is None else declared.group(1).decode("ascii")
    try:
        codec = codecs.lookup(name).name if _KNOWN.fullmatch(name) else ""
    except LookupError:
        codec = ""
    if not codec or source.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in source:
        raise ConfigFault("the file's encoding is not supported; store it as UTF-8")
    return codec


class _XmlReader:
    def __init__(self, document: XmlDocument) -> None:
        self._document = document
        self._open: list[Element] = []
        self._count = 0
        self._declared = 0
        # The declared encoding counts: expat must not guess.
        parser = expat.ParserCreate(document.codec)
        parser.specified_attributes = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.AttlistDeclHandler = self._attribute
        parser.EntityDeclHandler = self._entity
        parser.SkippedEntityHandler = self._entity
        self._parser = parser

    def read(self) -> None:
        try:
            self._parser.Parse(self._document.source, True)
        except expat.ExpatError as error:
            # expat's message for the code, without content of the file.
            place = f"line {error.lineno}, column {error.offset + 1}"
            raise ConfigFault(f"the file is not well-formed XML at {place}: {expat.ErrorString(error.code)}") from None
        except (ValueError, LookupError):
            raise ConfigFault("the file's encoding is not supported; store it as UTF-8") from None

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        parent = self._open[-1] if self._open else None
        element = Element(name, parent, self._parser.CurrentByteIndex, attributes)
        self._count += 1
        if self._count > _MOST_ELEMENTS:
            raise ConfigFault(f"the file has more than {_MOST_ELEMENTS} elements")
        if len(self._open) >= _DEEPEST:
            raise ConfigFault(f"the file's elements are nested more than {_DEEPEST} deep")
        if parent is None:
            self._document.root = element
        else:
            parent.children.append(element)
        self._open.append(element)

    def _end(self, _name: str) -> None:
        self._open.pop().end = self._parser.CurrentByteIndex

    def _attribute(self, *_declaration: Any) -> None:
        self._declared += 1
        if self._declared > _MOST_DECLARED:
            raise ConfigFault(f"the file declares more than {_MOST_DECLARED} attributes")

    def _entity(self, *_declaration: Any) -> None:
        raise ConfigFault("the file declares or uses entities of its own, which are not supported")
