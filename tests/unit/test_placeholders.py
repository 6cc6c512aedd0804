# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Placeholders of rules: what may be looked up, and what never is."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.placeholders import expand
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.rules import ConfigFault, substitute
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.xml_file import replace_xml
from ansible_collections.fleet.power.plugins.module_utils._power.container.container_spec import container_spec
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import ConfigFile, ConfigRule, parse_definition
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import parse_settings

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
def test_every_name_that_the_panel_and_wings_know_has_its_value(name: str, text: str) -> None:
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
def test_other_things_in_braces_stay(text: str) -> None:
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
def test_an_unknown_one_is_a_fault_that_names_it_and_its_rule(name: str) -> None:
    rule = ConfigRule("k", f"a {{{{{name}}}}}")
    with pytest.raises(ConfigFault, match=r"\{\{" + name.replace(".", r"\.") + r"\}\}") as raised:
        expanded(rule)
    assert raised.value.rule is rule
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("ip", ["10.0.0.5", "127.0.0.1"])
def test_variables_are_those_that_the_container_gets(ip: str) -> None:
    definition = parse_definition({"settings": {**RAW["settings"], "allocations": {"default": {"ip": ip, "port": 1}}}}, where="test")
    node = parse_settings(NODE, where="test")
    variables = container_spec(definition, node, data_directory="/d", image_id="i").config["Env"]
    assert {entry.partition("=")[0] for entry in variables} > {"TZ", "STARTUP", "SERVER_MEMORY", "SERVER_IP", "SERVER_PORT", "TOKEN"}
    for name, _equals, text in (entry.partition("=") for entry in variables):
        for written in (f"{{{{env.{name}}}}}", f"{{{{server.build.env.{name}}}}}"):
            (rule,) = expand(ConfigFile("f", "file", (ConfigRule("k", written),)), definition, node).rules
            assert (name, rule.replace_with) == (name, text)


def test_in_a_pattern_what_was_looked_up_is_text() -> None:
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
def test_what_was_looked_up_is_no_part_of_a_groups_name(template: str, written: str) -> None:
    rule = expanded(ConfigRule("k", template, r"regex:^(?P<head>.*:)\d+$"), "ini", ONE="1", AD="ad", DOLLAR="$")
    assert rule.if_value is not None
    assert substitute(rule.if_value[len("regex:") :], "a:1", str(rule.replace_with)) == written


@pytest.mark.parametrize("text", ["k={{env.LINES}}", "k={{env.END}}x", "{{env.END}}{{env.TOKEN}}", "{{env.RETURN}}x", "{{env.END}}\nx"])
def test_in_a_file_of_lines_a_variable_cannot_add_lines(text: str) -> None:
    variables = {"LINES": "a\nop=me", "END": "a\n", "RETURN": "a\r"}
    rule = ConfigRule("k", text)
    with pytest.raises(ConfigFault, match="would add lines") as raised:
        expanded(rule, **variables)
    assert raised.value.rule is rule
    assert "op=me" not in str(raised.value)
    assert expanded(rule, "json", **variables).replace_with != text


def test_a_variable_cannot_make_a_pattern_of_a_text() -> None:
    with pytest.raises(ConfigFault):
        expanded(ConfigRule("k", "x", "{{env.PATTERN}}"))


class TestXml:
    """A variable's value is written where the rule says, never where the value says."""

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
    def test_a_variable_cannot_make_an_attribute_of_a_text(self, text: str, environment: dict[str, str]) -> None:
        rule = ConfigRule("a.m", text)
        with pytest.raises(ConfigFault, match="would make an attribute") as raised:
            self.written(rule, **environment)
        assert raised.value.rule is rule
        assert "gone" not in str(raised.value)
