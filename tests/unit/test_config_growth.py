# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processor time and peak memory of each parser grow no faster than its file, measured in the child that edits it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.config_files import PARSERS, sandboxed_edit
from ansible_collections.fleet.power.plugins.module_utils._power.host.sandbox import Sandbox
from ansible_collections.fleet.power.tests.unit.test_config_corpus import cases
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

#: Bytes of the smallest file; the others have twice and four times as many.
SIZE = 60_000
#: Seconds and MiB below which the interpreter's own costs hide the growth.
LEAST_SECONDS, LEAST_MEMORY = 0.3, 24.0
#: Linear growth is 4, quadratic is 16.
MOST_GROWTH = 8.0
_TICKS = os.sysconf("SC_CLK_TCK")

Text = Callable[[int], bytes]


class Cost(NamedTuple):
    seconds: float
    memory: float


class Measured:
    """A child of an edit whose costs are read from outside."""

    def __init__(self) -> None:
        limits = sandboxed_edit._LIMITS._replace(seconds=60, memory=4096, patience=200.0)
        self.child = Sandbox(sandboxed_edit._PROGRAM, limits, sandboxed_edit._surroundings())
        self._proc = Path("/proc", str(self.child._running.pid))

    def cost(self, parser: str, content: bytes) -> Cost:
        (self._proc / "clear_refs").write_text("5")
        seconds, memory = self._seconds(), self._memory("VmRSS")
        rule = ["Zz.new" if parser == "ini" else "zz", "1", None]
        self.child.ask(parser, [rule], content=content)
        return Cost(self._seconds() - seconds, self._memory("VmHWM") - memory)

    def _seconds(self) -> float:
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def _memory(self, name: str) -> float:
        text = (self._proc / "status").read_text()
        return int(text.split(f"{name}:")[1].split()[0]) / 1024


def costs(parser: str, text: Text) -> list[Cost]:
    """The costs of three sizes, each in a child of its own."""
    found = []
    for size in (SIZE, 2 * SIZE, 4 * SIZE):
        measured = Measured()
        try:
            # Its modules are loaded now.
            measured.cost(parser, b"")
            found.append(measured.cost(parser, text(size)))
        finally:
            measured.child.end()
    return found


def fault(found: list[Cost]) -> str:
    """Why the growth is faster than linear; else empty."""
    first, _second, last = found
    if last.seconds > LEAST_SECONDS and last.seconds > MOST_GROWTH * first.seconds:
        return f"processor time grows: {found}"
    if last.memory > LEAST_MEMORY and last.memory > MOST_GROWTH * first.memory:
        return f"memory grows: {found}"
    return ""


def repeated(unit: bytes, before: bytes = b"", behind: bytes = b"") -> Text:
    """A text that repeats a unit; ``#`` in it is a number that counts."""

    def text(size: int) -> bytes:
        count = max(1, size // (len(unit) + 4 * unit.count(b"#")))
        return before + b"".join(unit.replace(b"#", b"%d" % number) for number in range(count)) + behind

    return text


def attributes_of_elements(size: int) -> bytes:
    declared = b"".join(b' a%d CDATA "x"' % number for number in range(size // 32))
    return b"<!DOCTYPE r [<!ATTLIST e" + declared + b">]><zz>" + b"<e/>" * (size // 8) + b"</zz>"


SUSPECTS: dict[str, dict[str, Text]] = {
    "json": {
        "a comment": repeated(b"x", b'{"a": 1,\n"b": 2 /*', b"*/\n}"),
        "comments": repeated(b" /* */", b'{"a": 1', b"\n}"),
        "blanks": repeated(b" ", b'{"a": 1,', b'"b": 2}'),
        "indents": repeated(b"\n  ", b'{"a": 1,', b'"b": 2}'),
        "equal keys": repeated(b'"a":1,', b"{", b'"b":2}'),
        "keys": repeated(b'"k#":1,', b"{", b'"b":2}'),
        "no end": repeated(b'\\"', b'{"a": "'),
    },
    "yaml": {
        "tags": repeated(b"%TAG !t#! tag:x\n", behind=b"---\na: 1\n"),
        "empty values": repeated(b"k#:\n"),
        "merges": repeated(b"  <<: *a\n", b"a: &a {x: 1}\nzz:\n"),
        "a list of merges": repeated(b"*a,", b"a: &a {x: 1}\nb:\n  <<: [", b"*a]\n"),
        "anchors": repeated(b"k#: &a# 1\n"),
        "maps": repeated(b"{},", b"a: [", b"1]\n"),
        "lines": repeated(b"  y\n", b"a: x\n"),
        "directives": repeated(b"%X a\n", behind=b"---\na: 1\n"),
        "own tags": repeated(b"k#: !t# x\n"),
    },
    "xml": {
        "declared attributes": attributes_of_elements,
        "attributes": repeated(b' a#="x"', b"<zz", b"/>"),
        "namespaces": repeated(b'<e xmlns:p#="u#"/>', b"<zz>", b"</zz>"),
        "namespaces of one": repeated(b' xmlns:p#="u#"', b"<zz", b"><p1:e/></zz>"),
        "references": lambda size: b"<zz>" + b"&#65;" * (size // 5) + b"</zz>",
        "elements": repeated(b"<e>x</e>", b"<zz>", b"</zz>"),
        "sections": repeated(b"<![CDATA[x]]>", b"<zz>", b"</zz>"),
        "declarations": repeated(b"<!ELEMENT e# (a,b)>", b"<!DOCTYPE zz [", b"]><zz/>"),
    },
    "toml": {
        "tables": repeated(b"[t#]\na=1\n"),
        "tables below lists": repeated(b"[[a]]\n[a.b]\nx=1\n"),
        "dotted keys": repeated(b"a.k#=1\n"),
        "an inline table": repeated(b"k#=1,", b"a={", b"b=1}\n"),
        "quotes": repeated(b'""x', b'a="""', b'"""\n'),
        "comments in a list": repeated(b"1, # x\n", b"a=[\n", b"]\n"),
    },
    "ini": {
        "sections": repeated(b"[s#]\na=1\n"),
        "quotes": repeated(b'"x" ', b"[Zz]\nnew=", b'"\n'),
        "signs of comments": repeated(b"a; ", b"[Zz]\nnew="),
        "signs in quotes": repeated(b" ;", b"[Zz]\nnew='"),
        "blanks": repeated(b" ", b"[Zz]\nnew=a", b"b\n"),
        "brackets": repeated(b"]", b"[", b"x\n"),
    },
    "properties": {
        "keys": repeated(b"k#=1\n"),
        "continued": repeated(b"c\\\n", b"a=b\\\n", b"d\n"),
        "backslashes": repeated(b"\\", b"a=", b"\n"),
        "blank lines": repeated(b" \\\n", b"a \\\n", b"b\n"),
    },
    "file": {"lines": repeated(b"zz=1\n"), "a line": repeated(b"1", b"zz=")},
}
#: These once grew faster. The others never did.
MENDED = ("yaml-tags", "xml-declared attributes")


@pytest.mark.samples(*MENDED)
@pytest.mark.parametrize(
    ("parser", "text"),
    [pytest.param(parser, text, id=f"{parser}-{name}") for parser, texts in SUSPECTS.items() for name, text in texts.items()],
)
def test_no_suspect_grows_faster_than_its_file(parser: str, text: Text) -> None:
    assert fault(costs(parser, text)) == ""


@pytest.mark.long
@pytest.mark.parametrize("parser", [parser for parser in PARSERS if parser != "yml"])
@settings(max_examples=int(os.environ.get("FLEET_POWER_FUZZ_EXAMPLES", "100")), deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_repeated_piece_of_a_real_file_grows_faster_than_its_file(parser: str, data: st.DataObject) -> None:
    """A file between two cuts of a real one has a piece many times, which may end in a number that counts."""
    source = data.draw(st.sampled_from(cases(parser))).before.encode("utf-8", "surrogateescape").replace(b"#", b";")
    begin, end = sorted((data.draw(st.integers(0, len(source))), data.draw(st.integers(0, len(source)))))
    unit = source[begin : min(end, begin + 60)] or b"x"
    place = data.draw(st.integers(0, len(unit)))
    unit = unit[:place] + data.draw(st.sampled_from((b"", b"#"))) + unit[place:]
    text = repeated(unit, source[:begin], source[end:])
    measured = Measured()
    try:
        measured.cost(parser, b"")
        found = [measured.cost(parser, text(size)) for size in (SIZE, 2 * SIZE, 4 * SIZE)]
    finally:
        measured.child.end()
    # One child keeps memory from one file to the next, and the machine may be busy.
    assert fault(found) == "" or fault(costs(parser, text)) == "", unit
