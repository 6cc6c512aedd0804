# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A boot and a configuration file of any bytes: the file is brought in line or a sentence says why not, never a traceback."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.boot.config_edit import edited
from ansible_collections.fleet.power.plugins.module_utils._power.actions.boot.container import Boot
from ansible_collections.fleet.power.plugins.module_utils._power.config_files import PARSERS
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import Definition, parse_definition
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import PrebootFailed
from ansible_collections.fleet.power.plugins.module_utils._power.volume.volume import Volume
from ansible_collections.fleet.power.tests.unit.config_support import CORPUS, cases
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SECRET = "hunter2\u00e4"
FILE = "some.cfg"
ENCODINGS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
CASES = [case for path in sorted(CORPUS.iterdir()) for case in cases(path.name) if case.before]
SAMPLES = st.sampled_from(CASES).map(lambda case: case.before.removeprefix("\ufeff")[:300].encode("utf-8", "replace").decode())
TEXTS = st.one_of(
    SAMPLES, st.text(max_size=20), st.sampled_from(["", "a", "a=1\n", "a: 1\n", '{"a": 1}\n', "<a>1</a>\n", "[a]\r\nb=1\r\n"])
)
ENCODED = st.builds(
    lambda text, name, has_mark: (ENCODINGS[name] if has_mark else b"") + text.encode(name),
    *(TEXTS, st.sampled_from(sorted(ENCODINGS)), st.booleans()),
)
#: What begins as one encoding and goes on as anything, half of a character included.
BROKEN = st.builds(lambda mark, rest: mark + rest, st.sampled_from([b"", *ENCODINGS.values()]), st.binary(max_size=20))
CUT = st.builds(lambda content, length: content[: max(0, len(content) - length)], ENCODED, st.integers(1, 5))
MATCHES = st.sampled_from(["a", "a.b", "[a].b", "*", "a[0]", "ServerSettings.property[@name='ServerPort'].@value", "\u00e9", "\U0001f600"])
VALUES = st.sampled_from([SECRET, "", 1, 2.5, True, None, f"{SECRET}\n", "\U0001f600", "\x01", "a\x85b"])


@pytest.fixture(name="node", scope="module")
def node_of_the_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeNode]:
    fake = FakeNode(tmp_path_factory.mktemp("node"))
    (fake.root / "volumes" / UUID).mkdir(parents=True)
    yield fake
    fake.close()


def definition(fake: FakeNode, parser: str, match: str, value: object, if_value: str | None) -> Definition:
    rule = {"match": match, "replace_with": value, **({} if if_value is None else {"if_value": if_value})}
    configs = [{"file": FILE, "parser": parser, "replace": [rule]}]
    return parse_definition(fake.definition(process={"configs": configs}), where="definition.json")


def outcome(fake: FakeNode, server: Definition, content: bytes, path: Path) -> bytes:
    """What becomes of a file of ``content``; where it cannot be brought in line, the sentence is looked at and the content stays."""
    path.write_bytes(content)
    try:
        after = edited(fake.context(fake.progress()), Boot(server, Volume(str(path.parent))), server.configs[0])
    except PrebootFailed as error:
        said = str(error)
        assert said.startswith(f"Cannot edit file {FILE} of server {UUID}: ") and "\n" not in said and "hunter2" not in said
        after = None
    assert path.read_bytes() == content
    return content if after is None else after


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    content=st.one_of(ENCODED, CUT, BROKEN),
    parser=st.sampled_from(sorted(PARSERS)),
    match=MATCHES,
    value=VALUES,
    if_value=st.sampled_from([None, None, "1", "regex:.*"]),
)
def test_whatever_bytes_a_file_holds_it_is_brought_in_line_or_a_sentence_says_why_not(
    node: FakeNode, content: bytes, parser: str, match: str, value: object, if_value: str | None
) -> None:
    server, path = definition(node, parser, match, value, if_value), node.root / "volumes" / UUID / FILE
    after = outcome(node, server, content, path)
    # What was written in an encoding still is in it, and is not written again.
    marks = [(name, mark) for name, mark in ENCODINGS.items() if name != "utf-8" and content.startswith(mark)]
    if marks and after != content:
        name, mark = max(marks, key=lambda each: len(each[1]))
        assert after.startswith(mark) and after.decode(name)
    if if_value is None:
        assert outcome(node, server, after, path) == after


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("parser", "match", "before", "expected"),
    [
        ("properties", "a", "a=1\r\nb=\u00e4\r\n", "a=2\r\nb=\u00e4\r\n"),
        ("ini", "a.b", "[a]\r\nb = 1 ; \u00e4\r\n", "[a]\r\nb = 2 ; \u00e4\r\n"),
        ("file", "a=", "a=1\nb=\u00e4\n", "2\nb=\u00e4\n"),
        ("json", "a", '{"a": 1, "b": "\u00e4"}', '{"a": 2, "b": "\u00e4"}'),
        ("yaml", "a", "a: 1\nb: \u00e4\n", "a: 2\nb: \u00e4\n"),
        ("toml", "a", 'a = 1\nb = "\u00e4"\n', 'a = 2\nb = "\u00e4"\n'),
        ("xml", "a.b", "<a c='\u00e4'><b>1</b></a>\n", "<a c='\u00e4'><b>2</b></a>\n"),
    ],
)
def test_every_parser_edits_a_marked_file_of_every_encoding_and_changes_nothing_else(
    node: FakeNode, encoding: str, parser: str, match: str, before: str, expected: str
) -> None:
    server, path = definition(node, parser, match, 2, None), node.root / "volumes" / UUID / FILE
    mark = ENCODINGS[encoding]
    assert outcome(node, server, mark + before.encode(encoding), path) == mark + expected.encode(encoding)
