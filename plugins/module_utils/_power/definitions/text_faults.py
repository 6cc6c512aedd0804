# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of texts in JSON and YAML, and their places; pure. In fixed words: what parsers say may quote the text, which holds secrets."""

from __future__ import annotations

import json
import re
from typing import Any

#: An alias of what is not there, or not yet complete.
ALIAS = "what begins with an asterisk names no anchor before it; quote it if it is text"

#: What `definition_text.placing` says of a value that does not fit its tag.
ILL_TAGGED = "not what its tag says"

#: What a parser says, or what it was doing, and what that means. The first that is found counts.
#: ``{begin}`` is the line in which the value at fault begins.
_YAML = tuple(
    (re.compile(said), words)
    for said, words in (
        (r"found a tab character|found character '\\t'", "a tab stands where spaces indent"),
        ("cannot start any token", "a value cannot begin with this character; put it in quotes"),
        (
            "mapping values are not allowed",
            "a mapping value is not allowed here; quote text that holds a colon, and look at the indentation and at the line before",
        ),
        ("sequence entries are not allowed", "a list item is not allowed here; begin the list on a line of its own"),
        ("mapping keys are not allowed", "a key after a question mark is not allowed here; quote text that begins with one"),
        ("quoted scalar.*end of stream", "a quote is never closed"),
        ("quoted scalar.*document (indicator|separator)", "a quote is not closed before the document ends"),
        ("could not find expected ':'", "a key has no colon, or the line is not indented as a part of the value before it"),
        (r"expected ',' or '\]'", "a comma or a closing bracket is missing in the list that begins in line {begin}"),
        (r"expected ',' or '\}'", "a comma or a closing brace is missing in the map that begins in line {begin}"),
        ("node content", "a bracket, a brace or a comma stands where a value is expected"),
        ("unknown escape character", "text in double quotes has a backslash that begins no known escape; write two, or use single quotes"),
        ("hexa?decimal|escape code", "an escape in double quotes lacks its digits, or means no character"),
        ("undefined alias", ALIAS),
        ("duplicate anchor", "an anchor is given twice"),
        ("recursive", "a value contains itself"),
        ("constructor for the tag", "a tag is not known here; quote text that begins with an exclamation mark"),
        (
            "scanning a tag|parsing a tag$|undefined tag handle|parsing a tag:",
            "a tag is not written as YAML has it; quote text that begins with an exclamation mark",
        ),
        ("scanning an (anchor|alias)", "a name after & or * is not written as YAML has it; quote text that begins with either"),
        ("directive|incompatible YAML|version number", "a directive, a line that begins with a percent sign, is not known here"),
        ("<document start>", "something follows the end of the document"),
        ("another document", "a second document begins, and only one is allowed"),
        (
            "unhashable key|unacceptable key",
            "a map or a list stands where a key is expected; quote text that begins with a brace or a bracket",
        ),
        ("maximum nesting|while increasing", "it is nested too deeply"),
        ("for merging", "only a map, or a list of maps, can follow <<"),
        ("block scalar", "only a sign, a digit and a comment can follow | or >"),
        (f"{ILL_TAGGED}|base64|but found", "a value is not what its tag says, or is a date that does not exist; put it in quotes"),
        ("unexpected ':'", "a colon is not allowed here; quote text that holds one"),
        ("UTF-|surrogate|Unicode", "it holds a character that is not valid"),
    )
)
#: What a parser says at a place where a line begins, and where something stands before it in its line.
_MISPLACED = re.compile("<block end>|expected key|'-' indicator")
_AT_A_LINE = "the line fits none of those above it: look at its indentation, and whether a list and a map are mixed"
_IN_A_LINE = "something follows a value that is complete, such as text after a closing quote"
#: Where the beginning tells more than the place at which the parser gave up.
_BEGINS = re.compile("quoted scalar|could not find expected ':'|scanning a tag|parsing a tag")
_UNKNOWN_YAML = "it is not written as YAML has it"
#: What no text in YAML may hold.
_CONTROL = re.compile("[^\\t\\n\\r\\x20-\\x7e\\x85\\xa0-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")

_JSON = (
    ("Expecting property name", "a key in double quotes is expected here, or the comma before is one too many"),
    ("Illegal trailing comma", "a comma stands before a closing bracket or brace"),
    ("Expecting ',' delimiter", "a comma or a closing bracket or brace is expected here"),
    ("Expecting ':' delimiter", "a colon is expected here"),
    ("Expecting value", "a value is expected here; text stands in double quotes"),
    ("Unterminated string", "a quote is never closed"),
    ("Invalid control character", "text in quotes holds a line break, a tab or another control character"),
    ("Invalid \\", "text in quotes has a backslash that begins no known escape; write two"),
    ("Extra data", "something follows the end of the document"),
)
_UNKNOWN_JSON = "it is not written as JSON has it"


def json_fault(error: json.JSONDecodeError) -> str:
    """Say what is wrong with a JSON text, and where."""
    if not error.doc.strip():
        return "it is empty"
    words = next((words for said, words in _JSON if error.msg.startswith(said)), _UNKNOWN_JSON)
    return f"it is not JSON: {_place(error.lineno, error.colno)}{words}"


def yaml_fault(error: Exception, text: str) -> str:
    """Say what is wrong with a YAML text, and where; ``error`` is PyYAML's, with libyaml or without."""
    mark, begin = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    control = _CONTROL.search(text)
    if mark is None and control is not None:
        before = text[: control.start()]
        place = _place(before.count("\n") + 1, control.start() - before.rfind("\n"))
        return f"it is not YAML: {place}it holds a control character; remove it, or write it as an escape in double quotes"
    said = f"{getattr(error, 'context', None) or ''}: {getattr(error, 'problem', None) or getattr(error, 'reason', None) or ''}"
    words = _words(said, text, mark)
    if begin is not None:
        words = words.format(begin=begin.line + 1)
        mark = begin if _BEGINS.search(said) else mark
    return f"it is not YAML: {'' if mark is None else _place(mark.line + 1, mark.column + 1)}{words}"


def yaml_fault_at(mark: Any, words: str) -> str:
    """The sentence for what a reader of PyYAML's events finds wrong; ``mark`` is where."""
    return f"it is not YAML: {_place(mark.line + 1, mark.column + 1)}{words}"


def _words(said: str, text: str, mark: Any) -> str:
    if mark is not None and _MISPLACED.search(said):
        return _IN_A_LINE if text[: mark.index].rpartition("\n")[2].strip() else _AT_A_LINE
    if mark is not None and "cannot start any token" in said and text[mark.index : mark.index + 1] == "\t":
        said = "found a tab character"
    return next((words for pattern, words in _YAML if pattern.search(said)), _UNKNOWN_YAML)


def _place(line: int, column: int) -> str:
    return f"line {line}, column {column}: "
