# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parser ``xml``: it changes only text and attributes that rules name. Real-world files are in ``fixtures/config_files/xml``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Union
from xml.etree import ElementTree

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.config_files import parser_of
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.rules import ConfigFault
from ansible_collections.fleet.power.plugins.module_utils._power.model.config_rule import ConfigRule
from hypothesis import given, settings
from hypothesis import strategies as st

Value = Union[str, int, float, bool, None]


def edited(text: str, *rules: tuple[str, Value]) -> str:
    return parser_of("xml")(text, [ConfigRule(match, value) for match, value in rules])


def fault(text: str, *rules: tuple[str, Value]) -> str:
    with pytest.raises(ConfigFault) as caught:
        edited(text, *rules)
    return str(caught.value)


@pytest.mark.parametrize(
    ("before", "match", "value", "after"),
    [
        ("<a><b>1</b></a>", "a.b", 2, "<a><b>2</b></a>"),
        ("<a><b/></a>", "a.b", 2, "<a><b>2</b></a>"),
        ("<a><b>1</b></a>", "a.b", "<&>]]>", "<a><b>&lt;&amp;&gt;]]&gt;</b></a>"),
        ("<a><b><![CDATA[x]]></b></a>", "a.b", "<y>", "<a><b><![CDATA[<y>]]></b></a>"),
        ("<a><b><![CDATA[x]]></b></a>", "a.b", "]]>", "<a><b>]]&gt;</b></a>"),
        ("<a><b>1</b><b>2</b></a>", "a.b", 3, "<a><b>3</b><b>3</b></a>"),
        ("<a/>", "a", "[b='1']", '<a b="1"/>'),
        ("<a b='1'/>", "a.@b", "it's \"<&\n", "<a b='it&apos;s \"&lt;&amp;&#10;'/>"),
        ("<a><p n='x.y'/><p n='z'/></a>", "a.p[@n='x.y'].@v", 1, "<a><p n='x.y' v=\"1\"/><p n='z'/></a>"),
        ("<a><p/><p/><p/></a>", "a.p[-1].@v", 1, '<a><p/><p/><p v="1"/></a>'),
        ("<a xmlns:m='u'><n:p>1</n:p></a>", "a.m:p[@x='1']", 2, "<a xmlns:m='u'><n:p>1</n:p><m:p x=\"1\">2</m:p></a>"),
        ("<!DOCTYPE a SYSTEM 'a.dtd' [<!ATTLIST a c CDATA 'x'>]>\n<a>1</a>\n", "a", 2, None),
    ],
)
def test_an_edit_changes_only_the_place_that_the_rule_names(before: str, match: str, value: Value, after: str | None) -> None:
    result = edited(before, (match, value))
    assert result == (before.replace("1", "2") if after is None else after)
    assert edited(result, (match, value)) == result


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<a/>", "<a>\n  <b>\n    <c>1</c>\n  </b>\n</a>"),
        ("<a>\n\t<x/>\n</a>", "<a>\n\t<x/>\n\t<b>\n\t\t<c>1</c>\n\t</b>\n</a>"),
        ("<a>\r\n    <x/>\r\n</a>\r\n", "<a>\r\n    <x/>\r\n    <b>\r\n      <c>1</c>\r\n    </b>\r\n</a>\r\n"),
        ("<a><x/></a>", "<a><x/><b><c>1</c></b></a>"),
        ("<a>\n  <b>\n  </b> <!-- end -->\n</a>", "<a>\n  <b>\n    <c>1</c>\n  </b> <!-- end -->\n</a>"),
    ],
)
def test_a_new_element_takes_the_layout_of_its_neighbours(before: str, after: str) -> None:
    result = edited(before, ("a.b.c", 1))
    assert result == after
    assert edited(result, ("a.b.c", 1)) == result


WORLDS = "<R><World id='1'><Seed>11</Seed></World></R>"


@pytest.mark.parametrize(
    ("match", "value", "before", "after"),
    [
        ("R.World[@id='1'].@id", 2, "id='1'", "id='2'"),
        ("R.World[@id='1']", "[id='2']", "id='1'", "id='2'"),
        ("R.World[Seed='11'].Seed", 12, "11", "12"),
    ],
)
def test_a_rule_that_makes_its_own_filter_false_applies_once(match: str, value: Value, before: str, after: str) -> None:
    once = edited(WORLDS, (match, value))
    assert once == WORLDS.replace(before, after)
    assert edited(once, (match, value)) == once


@pytest.mark.parametrize("match", ["a.m:p", "a.p.@m:x", "a.p[@m:x='1']", "a.n:p:q", "a.p.n:", "a.xmlns:p"])
def test_a_new_name_with_an_undeclared_prefix_is_a_fault(match: str) -> None:
    before = "<a xmlns:n='u'><b xmlns:m='v'/></a>"
    rule = ConfigRule(match, "x")
    with pytest.raises(ConfigFault, match="a prefix that the file does not declare there") as caught:
        parser_of("xml")(before, [rule])
    assert caught.value.rule == rule


def test_an_edit_keeps_a_single_byte_encoding_and_writes_other_characters_as_references() -> None:
    before = b"<?xml version='1.0' encoding='windows-1252'?><a b='\x80'>\xe9</a>".decode("utf-8", "surrogateescape")
    after = edited(before, ("a.@b", "€ ž Ω"), ("a.c", "x")).encode("utf-8", "surrogateescape")
    assert after == b"<?xml version='1.0' encoding='windows-1252'?><a b='\x80 \x9e &#937;'>\xe9<c>x</c></a>"


@pytest.mark.parametrize(
    ("text", "match", "says"),
    [
        ("<b/>", "a.b", "another name than that of the file's root"),
        ("<a>", "a", "not well-formed XML at line 1"),
        ("<a>&x;</a>", "a", "not well-formed XML"),
        ("<?xml version='1.0' encoding='utf-16'?><a/>", "a", "store it as UTF-8"),
        ("<\0a\0/\0>\0", "a", "store it as UTF-8"),
        ("<a/>", "a..b", "is not a path"),
        ("<a/>", "a.b[c d]", "brackets other than"),
        ("<a/>", "a.b[2]", "says what to create"),
        ("<a/>", "a." * 100 + "b", "more than 64 steps"),
    ],
)
def test_broken_xml_and_wrong_paths_are_faults(text: str, match: str, says: str) -> None:
    assert says in fault(text, (match, "x"))


def test_entities_are_a_fault_and_nothing_is_fetched(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("secret")
    laughs = "".join(f"<!ENTITY l{level} '" + f"&l{level - 1};" * 10 + "'>" for level in range(1, 10))
    for declared in (
        f"<!ENTITY x SYSTEM '{outside.as_uri()}'>",
        f"<!ENTITY % x SYSTEM '{outside.as_uri()}'> %x;",
        "<!ENTITY x 'y'>",
        laughs,
    ):
        assert "entities of its own" in fault(f"<!DOCTYPE a [{declared}]><a>&x;</a>", ("a.b", "y"))
    assert "entities of its own" in fault(f"<!DOCTYPE a SYSTEM '{outside.as_uri()}'><a>&x;</a>", ("a.b", "y"))


MEGABYTE = 1024 * 1024
HOSTILE = {
    "deep": "<a>" * 300_000,
    "deeper": "<a>" * 5 * MEGABYTE,
    "many elements": "<a>" + "<b/>" * 300_000 + "</a>",
    "many attributes": "<a " + " ".join(f"b{number}=''" for number in range(500_000)) + "/>",
    "no end of a comment": "<a><!--" + "-" * 15 * MEGABYTE,
    "no end of a tag": "<a " + "b" * 15 * MEGABYTE,
    "no end of a doctype": "<!DOCTYPE a [" + "[" * 15 * MEGABYTE,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_a_fault_within_seconds(text: str) -> None:
    began = time.process_time()
    fault(text, ("a.b", 1))
    assert time.process_time() - began < 5


PIECES = [
    *(
        "<a>",
        "</a>",
        "<b>",
        "</b>",
        "<b/>",
        "<b x='1'/>",
        '<b x = "&lt;" >',
        "<c:d xmlns:c='u' />",
        "<!-- <b> -->",
        "<![CDATA[<b>]]>",
        "<?p q?>",
    ),
    *(" t ", "&amp;", "\n", "\r\n  ", "é", "\udcff", "&#x41;", "<", ">", "]]>", "<!DOCTYPE a>", "<?xml version='1.0'?>", "\ufeff"),
]
PATHS = ["a", "a.b", "a.b.c", "a.*", "*.b", "a.b[@x='1']", "a.b[@x='2'].@y", "a.@z", "a.d", "a.b[1]", "a.b[c='t'].c", "b", "a/b"]
PATHS += ["a.b[@x='1'].@x", "a.b[@x='1'][1].@x", "a.c:n", "a.@c:n", "a.*.c:n", "a.@xmlns:c"]
VALUES: st.SearchStrategy[Value] = st.one_of(
    st.text(max_size=6), st.integers(), st.booleans(), st.just("[x='1']"), st.just("[y='<']"), st.none()
)
CHILDREN = st.lists(st.sampled_from([piece for piece in PIECES if not piece.startswith(("<a", "</", "<!D", "<?x"))]), max_size=6)
TREES = CHILDREN.map(lambda pieces: "<a>" + "".join(f"{piece}</b>" if piece.endswith(" >") else piece for piece in pieces) + "</a>")
FILES = TREES | st.lists(st.sampled_from(PIECES), max_size=9).map("".join)


@settings(max_examples=120)
@given(FILES, st.lists(st.tuples(st.sampled_from(PATHS), VALUES), min_size=1, max_size=2))
def test_edits_give_valid_xml_and_a_second_edit_changes_nothing(text: str, rules: list[tuple[str, Value]]) -> None:
    try:
        once = edited(text, rules[0])
    except ConfigFault:
        return
    assert edited(once, rules[0]) == once
    if once.strip("\ufeff \r\n"):
        ElementTree.fromstring(once.encode("utf-8", "surrogateescape"))
    try:
        edited(once, *rules)
    except ConfigFault:
        return


@settings(max_examples=80)
@given(TREES, st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8), st.sampled_from(["n", "b2.n"]))
def test_a_new_element_has_the_value_of_the_rule_and_changes_no_other(text: str, value: str, path: str) -> None:
    try:
        after = edited(text, (f"a.{path}.@v", value))
    except ConfigFault:
        return
    before_tree, tree = (ElementTree.fromstring(content.encode("utf-8", "surrogateescape")) for content in (text, after))
    made = tree.find(path.replace(".", "/"))
    assert made is not None
    assert made.get("v") == value
    assert [(child.tag, child.attrib, child.text) for child in before_tree] == [(child.tag, child.attrib, child.text) for child in tree][
        :-1
    ]
