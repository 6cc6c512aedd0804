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
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import Definition, parse_definition
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import PrebootFailed
from ansible_collections.fleet.power.plugins.module_utils._power.volume.volume import Volume
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode

FILE = "some.cfg"
ENCODINGS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


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
