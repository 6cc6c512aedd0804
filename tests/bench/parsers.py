# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each parser on a file of 10,000 lines with 20 rules, beside reading and writing the file alone.

What is measured is what a boot does to a file that is not in line: read it, apply the rules, write it. Of the rules 18 change a value and
two add one (of lines: nothing). Patterns have a row of their own: they cost a child process once a file, however many there are.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from ansible_collections.fleet.power.plugins.module_utils._power.config_files import PARSERS
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import ConfigRule
from ansible_collections.fleet.power.plugins.module_utils._power.volume.volume import Volume
from ansible_collections.fleet.power.tests.bench.measure import Row, difference, in_turn

_ROUNDS, _WARM_UP = 15, 2
_LINES, _SECTIONS = 10_000, 100
_KEYS = _LINES // _SECTIONS
#: Milliseconds that a parser may add to a boot, for a file larger than real ones: less than a start of the container takes.
_TARGET = 500
_CHANGED, _ADDED = 18, 2
_ENCODING, _ERRORS = "utf-8", "surrogateescape"


def _sections(head: str, line: str) -> str:
    """A file of sections: a head, and as many keys as fill it up to its share of lines."""
    return "".join(
        head.format(s=section) + "".join(line.format(s=section, k=key, n=section * _KEYS + key) for key in range(_KEYS - 1))
        for section in range(_SECTIONS)
    )


def _json() -> str:
    return json.dumps({f"s{s}": {f"k{k}": s * _KEYS + k for k in range(_KEYS - 2)} for s in range(_SECTIONS)}, indent=2) + "\n"


def _xml() -> str:
    return '<?xml version="1.0"?>\n<S>\n' + _sections("  <!-- {s} -->\n", '  <property name="s{s}.k{k}" value="{n}"/>\n') + "</S>\n"


#: By parser: its file, and how a rule names a key of a section.
_FILES: Mapping[str, tuple[Callable[[], str], str]] = {
    "file": (lambda: _sections("// {s}\n", "s{s}.k{k} {n}\n"), "s{s}.k{k} "),
    "properties": (lambda: _sections("# {s}\n", "s{s}.k{k}={n}\n"), "s{s}.k{k}"),
    "ini": (lambda: _sections("[s{s}]\n", "k{k} = {n}\n"), "s{s}.k{k}"),
    "json": (_json, "s{s}.k{k}"),
    "yaml": (lambda: _sections("s{s}:\n", "  k{k}: {n}\n"), "s{s}.k{k}"),
    "toml": (lambda: _sections("[s{s}]\n", "k{k} = {n}\n"), "s{s}.k{k}"),
    "xml": (_xml, "S.property[@name='s{s}.k{k}'].@value"),
}


def measure(root: Path) -> Iterable[Row]:
    """The rows of the table: the milliseconds that each parser adds."""
    directory = root / "parsers"
    directory.mkdir(parents=True)
    for parser in _FILES:
        yield _row(directory, parser, parser, _rules(parser))
    pattern = ConfigRule("s0.k5", "x$1", "regex:^(5)$")
    yield _row(directory, "properties, a pattern", "properties", [*_rules("properties"), pattern])


def _rules(parser: str) -> list[ConfigRule]:
    """Rules for keys all over the file."""
    match = _FILES[parser][1]
    places = [(section, 7) for section in range(3, _SECTIONS, 5)][:_CHANGED] + [(50 + number, 5000) for number in range(_ADDED)]
    values: Iterator[int] = iter(range(90_000, 99_999))
    named = [(match.format(s=section, k=key), next(values)) for section, key in places]
    return [ConfigRule(name, f"{name}{value}" if parser == "file" else value) for name, value in named]


def _row(directory: Path, what: str, parser: str, rules: list[ConfigRule]) -> Row:
    text, volume, parse = _FILES[parser][0](), Volume(str(directory)), PARSERS[parser]
    (directory / "before").write_text(text)
    uid, gid = os.getuid(), os.getgid()
    changed = sum(one != other for one, other in zip(text.splitlines(), parse(text, rules).splitlines()))
    if changed < _CHANGED:
        raise RuntimeError(f"the rules of {parser} change {changed} lines")

    def edit() -> float:
        began = time.perf_counter()
        before = (volume.read_text("before") or b"").decode(_ENCODING, _ERRORS)
        volume.write("after", parse(before, rules).encode(_ENCODING, _ERRORS), uid=uid, gid=gid)
        return time.perf_counter() - began

    def copy() -> float:
        began = time.perf_counter()
        volume.write("after", volume.read_text("before") or b"", uid=uid, gid=gid)
        return time.perf_counter() - began

    ours, other = in_turn(edit, copy, _ROUNDS, _WARM_UP)
    note = f"{text.count(chr(10))} lines, {len(text) // 1024} KiB, {len(rules)} rules"
    return difference(f"parser {what}", ours, other, "read and write", _TARGET, [note])
