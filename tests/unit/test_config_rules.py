# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules: their values, paths, regular expressions and placeholders mean the same in all formats."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.paths import Step, steps_of
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.placeholders import expand
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.rules import (
    ABSENT,
    KEEP,
    ConfigFault,
    Number,
    Present,
    substitute,
    typed,
    wanted,
)
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.xml_file import replace_xml
from ansible_collections.fleet.power.plugins.module_utils._power.container.container_spec import container_spec
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import ConfigFile, parse_definition
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.model.config_rule import ConfigRule


@pytest.mark.parametrize(
    ("value", "present", "written"),
    [
        ("25565", "old", "25565"),
        (25565, "old", "25565"),
        ("25565", Number("1"), Number("25565")),
        ("1e400", Number("1"), Number("1e400")),
        ("0123", Number("1"), "0123"),
        ("auto", Number("1"), "auto"),
        (True, False, True),
        ("true", False, True),
        ("off", True, False),
        ("25565", ABSENT, Number("25565")),
        ("0123", ABSENT, "0123"),
        ("0.75", ABSENT, "0.75"),
        ("true", ABSENT, "true"),
        ("482910374651829301", ABSENT, "482910374651829301"),
        (None, Number("1"), None),
        (None, ABSENT, None),
    ],
)
def test_a_value_takes_the_type_of_the_present_value(value: str | int | float | bool | None, present: Present, written: Present) -> None:
    assert typed(value, present) == written
    assert type(typed(value, present)) is type(written)


@pytest.mark.parametrize(
    ("present", "if_value", "holds"),
    [
        ("world", "world", True),
        ("world", "World", False),
        (Number("25565"), "25565", True),
        (Number("1.50"), "1.5", True),
        (True, "true", True),
        (None, "", True),
        (ABSENT, "", False),
        (ABSENT, "regex:", False),
        ("localhost:1", "regex:^localhost", True),
        ("my localhost", "regex:^localhost", False),
        (Number("25565"), "regex:^25", True),
    ],
)
def test_a_rule_applies_only_where_its_if_value_matches(present: Present, if_value: str, holds: bool) -> None:
    assert (wanted(ConfigRule("a", "new", if_value), present) is not KEEP) is holds


@pytest.mark.parametrize(
    "rule",
    [
        ConfigRule("a", "x", "regex:("),
        ConfigRule("a", "\ud800"),
        ConfigRule("\udfff", "x"),
        ConfigRule("a", 10**5000),
    ],
)
def test_an_unusable_rule_is_a_fault_that_names_the_rule(rule: ConfigRule) -> None:
    with pytest.raises(ConfigFault) as caught:
        wanted(rule, "x")
    assert caught.value.rule is rule


A, B = "a", "b"


@pytest.mark.parametrize(
    ("match", "steps"),
    [
        ("a", (A,)),
        ("a[1].b", (A, 1, B)),
        ("a[0][12]", (A, 0, 12)),
        ("a.*.b", (A, None, B)),
        ("[0].a", (0, A)),
        ('a["b.c"].b', (A, "b.c", B)),
        ("a['*'][\"\"]", (A, "*", "")),
        ("log~1level.a~0b", ("log.level", "a~b")),
    ],
)
def test_a_path_is_split_into_keys_indexes_and_wildcards(match: str, steps: tuple[Step, ...]) -> None:
    assert steps_of(ConfigRule(match, "x")) == steps


@pytest.mark.parametrize("match", ["", "a.", "a..b", "a" * 1001, "a." * 64 + "a"])
def test_an_incomplete_or_too_long_path_is_a_fault_that_names_its_rule(match: str) -> None:
    rule = ConfigRule(match, "x")
    with pytest.raises(ConfigFault, match="its match") as caught:
        steps_of(rule)
    assert caught.value.rule is rule


@pytest.mark.parametrize("match", ["[0]" * 333 + "x", '["' * 500, "['" * 500, "[" * 1000, "~" * 1000])
def test_a_hostile_path_is_read_within_half_a_second(match: str) -> None:
    began = time.process_time()
    with contextlib.suppress(ConfigFault):
        steps_of(ConfigRule(match, "x"))
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    ("pattern", "text", "template", "expected"),
    [
        (r"^(?:127\.0\.0\.1|localhost)(:[0-9]+)?$", "localhost:80", "10.0.0.1$1", "10.0.0.1:80"),
        (r"^(?:127\.0\.0\.1|localhost)(:[0-9]+)?$", "db.localhost", "10.0.0.1$1", None),
        ("(?P<n>a)(?<m>b)", "ab", "${m}${n}", "ba"),
        ("(a)", "a", "$1x", ""),
        ("(a)", "a", "${1}x $2 $$1 $ ${", "ax  $1 $ ${"),
        ("a*", "baac", "x", "xbxcx"),
        ("a$", "a\n", "x", None),
        ("(?m)a$", "a\nb", "x", "x\nb"),
        (r"[$]\$", "$$", "x", "x"),
        (r"\d", "\u0663", "x", None),
        (".", "\udce9\u00e9", "<$0>", "<\udce9><\u00e9>"),
        ("", "", "x", "x"),
    ],
)
def test_matches_are_replaced_as_in_go(pattern: str, text: str, template: str, expected: str | None) -> None:
    assert substitute(pattern, text, template) == expected


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", r"\p{L}", "[[:alpha:]]", "(" * 3000, "a" * 5000, "(?z)"])
def test_an_invalid_pattern_is_a_fault(pattern: str) -> None:
    with pytest.raises(ConfigFault, match="regular expression in if_value"):
        substitute(pattern, "a", "x")


def test_a_result_larger_than_16_mib_is_a_fault() -> None:
    with pytest.raises(ConfigFault, match="larger than 16 MiB"):
        substitute("a+", "a" * 100_000, "$0" * 200)


UUID = "0f4c5ad2-9a1b-4c39-8a6e-3f2b7d10c001"
RAW: dict[str, Any] = {
    "settings": {
        "uuid": UUID,
        "suspended": False,
        "skip_egg_scripts": True,
        "invocation": "java -jar x.jar",
        "environment": {
            "Motd": "a $1 & {{env.TOKEN}}",
            "TOKEN": "t",
            "EMPTY": "",
            "PATTERN": "regex:(a+)+$",
            "SERVER_PORT": "1",
            "STARTUP": "x",
            "TZ": "x",
        },
        "build": {"memory_limit": 2048, "swap": -1, "io_weight": 500, "cpu_limit": 150, "disk_space": 4096, "oom_killer": False},
        "container": {"image": "~game:1"},
        "allocations": {"default": {"ip": "10.0.0.5", "port": 25601}, "mappings": {"10.0.0.5": [25601]}},
        "egg": {"id": "0b7a"},
    }
}
NODE = {
    "app_name": "Fleet",
    "token": "node-secret",
    "token_id": "id-secret",
    "system": {"timezone": "Europe/Berlin", "user": {"uid": 1, "gid": 1}},
}


def expanded(rule: ConfigRule, parser: str = "file", **environment: str) -> ConfigRule:
    raw = {"settings": {**RAW["settings"], "environment": {**RAW["settings"]["environment"], **environment}}}
    definition = parse_definition(raw, where="test")
    (found,) = expand(ConfigFile("f", parser, (rule,)), definition, parse_settings(NODE, where="test")).rules
    return found


def value(text: str) -> object:
    return expanded(ConfigRule("k", text)).replace_with


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("server.uuid", UUID),
        ("server.suspended", "false"),
        ("server.service.egg", "0b7a"),
        ("server.build.default.port", "25601"),
        ("server.build.swap", "-1"),
        ("server.build.image", "game:1"),
        ("server.build.env.TOKEN", "t"),
        ("env.TOKEN", "t"),
        ("env.EMPTY", ""),
        ("env.SERVER_MEMORY", "2048"),
        ("config.docker.network.interface", "172.18.0.1"),
        ("config.app_name", "Fleet"),
        ("config.system.timezone", "Europe/Berlin"),
    ],
)
def test_each_placeholder_of_the_panel_and_wings_has_its_value(name: str, text: str) -> None:
    assert value(f"{{{{{name}}}}}") == text
    assert value(f"{{{{ {name} }}}}") == text
    assert value(f"{{{{\t{name}  }}}}") == text


@pytest.mark.parametrize(
    "text",
    [
        "{{player}}",
        "{{VERSION}}",
        "{env.TOKEN}",
        "${env.TOKEN}",
        "{{}}",
        "{{my.env.TOKEN}}",
        "{{env.a",
        "{{env.{a}}}",
    ],
)
def test_other_text_in_braces_stays(text: str) -> None:
    assert value(text) == text


@pytest.mark.parametrize(
    "name",
    [
        "env.MISSING",
        "env.",
        "server.name",
        "config.remote",
        "env.MY TOKEN",
        "ENV.TOKEN",
    ],
)
def test_an_unknown_placeholder_is_a_fault_that_names_it_and_its_rule(name: str) -> None:
    rule = ConfigRule("k", f"a {{{{{name}}}}}")
    with pytest.raises(ConfigFault, match=r"\{\{" + name.replace(".", r"\.") + r"\}\}") as raised:
        expanded(rule)
    assert raised.value.rule is rule
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("ip", ["10.0.0.5", "127.0.0.1"])
def test_placeholders_give_the_variables_of_the_container(ip: str) -> None:
    definition = parse_definition({"settings": {**RAW["settings"], "allocations": {"default": {"ip": ip, "port": 1}}}}, where="test")
    node = parse_settings(NODE, where="test")
    variables = container_spec(definition, node, data_directory="/d", image_id="i").config["Env"]
    assert {entry.partition("=")[0] for entry in variables} > {"TZ", "STARTUP", "SERVER_MEMORY", "SERVER_IP", "SERVER_PORT", "TOKEN"}
    for name, _equals, text in (entry.partition("=") for entry in variables):
        for written in (f"{{{{env.{name}}}}}", f"{{{{server.build.env.{name}}}}}"):
            (rule,) = expand(ConfigFile("f", "file", (ConfigRule("k", written),)), definition, node).rules
            assert (name, rule.replace_with) == (name, text)


def test_a_placeholders_value_is_plain_text_in_a_pattern() -> None:
    rule = expanded(ConfigRule("k", "{{env.MOTD}} $1", "regex:^{{server.build.default.ip}}(:[0-9]+)$"), "ini")
    assert rule.if_value is not None
    pattern = rule.if_value[len("regex:") :]
    assert substitute(pattern, "10x0.0.5:1", str(rule.replace_with)) is None
    assert substitute(pattern, "10.0.0.5:1", str(rule.replace_with)) == "a $1 & {{env.TOKEN}} :1"


@pytest.mark.parametrize(
    ("template", "written"),
    [
        ("$1{{server.build.default.port}}", "a:25601"),
        ("${1}{{server.build.default.port}}", "a:25601"),
        ("$1{{env.EMPTY}}2", "a:2"),
        ("$${{env.ONE}}", "$1"),
        ("${{env.ONE}}", "$1"),
        ("${{{env.ONE}}}", "${1}"),
        ("${he{{env.AD}}}", "${head}"),
        ("{{env.DOLLAR}}1", "$1"),
    ],
)
def test_a_placeholders_value_does_not_extend_the_name_of_a_group(template: str, written: str) -> None:
    rule = expanded(ConfigRule("k", template, r"regex:^(?P<head>.*:)\d+$"), "ini", ONE="1", AD="ad", DOLLAR="$")
    assert rule.if_value is not None
    assert substitute(rule.if_value[len("regex:") :], "a:1", str(rule.replace_with)) == written


@pytest.mark.parametrize("text", ["k={{env.LINES}}", "k={{env.END}}x", "{{env.END}}{{env.TOKEN}}", "{{env.RETURN}}x", "{{env.END}}\nx"])
def test_a_variable_cannot_add_lines_to_a_file_of_lines(text: str) -> None:
    variables = {"LINES": "a\nop=me", "END": "a\n", "RETURN": "a\r"}
    rule = ConfigRule("k", text)
    with pytest.raises(ConfigFault, match="would add lines") as raised:
        expanded(rule, **variables)
    assert raised.value.rule is rule
    assert "op=me" not in str(raised.value)
    assert expanded(rule, "json", **variables).replace_with != text


def test_a_variable_cannot_turn_a_text_into_a_pattern() -> None:
    with pytest.raises(ConfigFault):
        expanded(ConfigRule("k", "x", "{{env.PATTERN}}"))


class TestXml:
    BEFORE = "<a><m name='kept'>old</m></a>"

    def written(self, rule: ConfigRule, **environment: str) -> str:
        return replace_xml(self.BEFORE, [expanded(rule, "xml", **environment)])

    @pytest.mark.parametrize(
        ("text", "environment"),
        [
            ("{{env.TEXT}}", {"TEXT": "[name='gone']"}),
            ("{{env.TEXT}}", {"TEXT": "[name='x\ny']"}),
            ("[{{env.TEXT}}='gone']", {"TEXT": "name"}),
            ("[na{{env.TEXT}}", {"TEXT": "me='gone']"}),
            ("{{env.TEXT}}{{env.MORE}}", {"TEXT": "[name='", "MORE": "gone']"}),
        ],
    )
    def test_a_variable_cannot_turn_a_text_into_an_attribute(self, text: str, environment: dict[str, str]) -> None:
        rule = ConfigRule("a.m", text)
        with pytest.raises(ConfigFault, match="would make an attribute") as raised:
            self.written(rule, **environment)
        assert raised.value.rule is rule
        assert "gone" not in str(raised.value)
