# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Definitions: what users and Panels write, read into a value or refused with a sentence that names the key."""

from __future__ import annotations

import copy
import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions import definition_keys
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import (
    KEYS,
    Definition,
    parse_definition,
    read_definition,
    secrets_of,
    stop_signal,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model import schema
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import DefinitionInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import StopType, StopWay
from hypothesis import given, settings
from hypothesis import strategies as st

FIXTURES = Path(__file__).parent / "fixtures" / "definitions"
UUID = "566bf9d7-c55a-45f8-91a6-e55e9b9b1325"
OTHER = "11111111-0000-4000-8000-000000000001"
DEEP = json.loads("[" * 500 + "]" * 500)


def minimal() -> dict[str, Any]:
    return {"settings": {"uuid": UUID, "container": {"image": "game:1"}}}


def with_value(key: str, value: object) -> dict[str, Any]:
    """The minimal definition with one dotted key set."""
    raw: dict[str, Any] = minimal()
    *path, last = key.split(".")
    node = raw
    for name in path:
        node = node.setdefault(name, {})
    node[last] = value
    return raw


def parse(raw: object) -> Definition:
    return parse_definition(raw, where="game.yml")


def fixture_definitions() -> list[tuple[str, dict[str, Any]]]:
    found = []
    for path in sorted(FIXTURES.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        found += [(f"{path.stem}-{entry['settings']['uuid'][:8]}", entry) for entry in document.get("data", [document])]
    return found


class TestFixtures:
    @pytest.mark.parametrize("raw", [raw for _unused, raw in fixture_definitions()], ids=[name for name, _unused in fixture_definitions()])
    def test_a_definition_of_the_panel_is_read_without_a_warning_of_unknown_keys(self, raw: dict[str, Any]) -> None:
        definition = parse(raw)
        assert definition.server.uuid == raw["settings"]["uuid"]
        assert definition.server.name == raw["settings"]["meta"]["name"]
        assert not [warning for warning in definition.warnings if "unknown" in warning]

    def test_a_whole_definition_is_read(self) -> None:
        paper = parse(json.loads((FIXTURES / "paper.json").read_text(encoding="utf-8")))
        assert paper.server.short_id == "566bf9d7"
        assert paper.build.memory_limit == 2048
        assert paper.build.threads == "0-1"
        assert paper.allocations.mappings == (("0.0.0.0", (25601, 25611)),)
        assert paper.startup.done == (")! For help, type ",)
        assert paper.stop == StopWay(StopType.COMMAND, "stop")
        assert [rule.match for rule in paper.configs[0].rules][:2] == ["server-ip", "server-port"]
        assert paper.warnings == ()

    def test_all_parsers_and_replacement_forms_are_read_with_their_types(self) -> None:
        definition = parse(json.loads((FIXTURES / "all-parsers.json").read_text(encoding="utf-8")))
        assert [config.parser for config in definition.configs] == ["properties", "yaml", "json", "ini", "xml", "file", "yml"]
        rules = {rule.match: rule for rule in definition.configs[0].rules}
        assert rules["online"].replace_with is True
        assert rules["max"].replace_with == 20
        assert rules["level-name"].if_value == "world"
        assert definition.configs[1].rules[4].replace_with == 0.75


class TestDefaults:
    def test_only_uuid_and_image_are_required(self) -> None:
        definition = parse(minimal())
        assert definition.stop == StopWay(StopType.NATIVE)
        assert definition.startup.done == ()
        assert definition.environment == ()
        assert definition.mounts == ()
        assert not definition.suspended
        assert definition.warnings == ()

    @pytest.mark.parametrize("key", ["settings.uuid", "settings.container.image"])
    def test_a_required_key_that_is_missing_is_named(self, key: str) -> None:
        raw = minimal()
        section = raw["settings"] if key == "settings.uuid" else raw["settings"]["container"]
        del section[key.rsplit(".", maxsplit=1)[-1]]
        with pytest.raises(DefinitionInvalid, match=f"Cannot read definition game.yml: {key} is missing"):
            parse(raw)

    def test_every_default_stands_in_the_table_and_is_what_an_empty_definition_gets(self) -> None:
        defaults = {key.name: key.default for key in KEYS}
        build = parse(minimal()).build
        for name in ("memory_limit", "swap", "io_weight", "cpu_limit", "threads", "disk_space"):
            assert getattr(build, name) == defaults[f"settings.build.{name}"]
        assert parse(minimal()).allocations.default_ip == defaults["settings.allocations.default.ip"]

    @pytest.mark.parametrize("key", [key for key in KEYS if key.used and key.default is not schema.REQUIRED], ids=lambda key: key.name)
    def test_null_means_the_default_for_every_optional_key(self, key: schema.Key) -> None:
        given, absent = parse(with_value(key.name, None)), parse(minimal())
        assert {**vars(given), "source": None, "warnings": ()} == {**vars(absent), "source": None, "warnings": ()}

    def test_the_tables_of_records_are_laid_open_for_the_documentation(self) -> None:
        names = [key.name for key in schema.every_key(KEYS)]
        assert "settings.mounts[].source" in names
        assert "process_configuration.configs[].replace[].if_value" in names
        assert len(names) == len(set(names))
        assert all(key.meaning and key.type.words for key in schema.every_key(KEYS))

    @pytest.mark.parametrize(
        "key",
        [
            "settings.environment",
            "settings.labels",
            "settings.allocations",
            "settings.allocations.mappings",
            "settings.build",
            "settings.meta",
            "process_configuration",
            "process_configuration.startup",
        ],
    )
    def test_an_empty_list_is_an_empty_map_as_php_writes_it(self, key: str) -> None:
        assert parse(with_value(key, [])).warnings == ()


class TestIdentity:
    def test_the_uuid_may_be_in_any_case(self) -> None:
        assert parse(with_value("settings.uuid", UUID.upper())).server.uuid == UUID

    @pytest.mark.parametrize("uuid", ["", "566bf9d7", UUID.replace("-", ""), f"../{UUID}", f"{UUID}\x00", 5, None, [UUID], UUID + "/.."])
    def test_nothing_but_a_full_uuid_is_one(self, uuid: object) -> None:
        with pytest.raises(DefinitionInvalid, match=r"settings\.uuid"):
            parse(with_value("settings.uuid", uuid))

    def test_the_uuid_must_be_the_one_that_its_place_promises(self) -> None:
        other = "9823beb1-e6ba-4ad7-8de4-5321ad915a36"
        with pytest.raises(DefinitionInvalid, match=f"settings.uuid is {UUID}, expected {other}"):
            parse_definition(minimal(), where="game.yml", expect_uuid=other)
        assert parse_definition(minimal(), where="game.yml", expect_uuid=UUID.upper()).server.uuid == UUID

    def test_a_name_never_breaks_a_line_of_a_log(self) -> None:
        assert parse(with_value("settings.meta.name", "a\nb\x1b[0m")).server.name == "a b [0m"


class TestEnvironment:
    @pytest.mark.parametrize(
        ("written", "text"),
        [
            (5, "5"),
            (-7, "-7"),
            (0, "0"),
            (1.5, "1.5"),
            (True, "true"),
            (False, "false"),
            (None, ""),
            ("", ""),
            (" x=y\n", " x=y\n"),
            (2**63, str(2**63)),
        ],
    )
    def test_a_value_reaches_the_container_as_written(self, written: object, text: str) -> None:
        assert parse(with_value("settings.environment", {"X": written})).environment == (("X", text),)

    def test_names_are_upper_cased_in_order_and_the_first_of_equal_names_wins(self) -> None:
        definition = parse(with_value("settings.environment", {"b": 1, "a": 2, "B": 3}))
        assert definition.environment == (("B", "1"), ("A", "2"))
        assert definition.warnings == ("settings.environment.B is ignored: B is given before",)

    @pytest.mark.parametrize("value", [[], ["x"], {"a": 1}, DEEP])
    def test_a_list_or_map_is_empty_with_a_warning(self, value: object) -> None:
        definition = parse(with_value("settings.environment", {"X": value}))
        assert definition.environment == (("X", ""),)
        assert "settings.environment.X" in definition.warnings[0]

    @pytest.mark.parametrize(
        "environment",
        [
            {"X": "a\x00b"},
            {"X\x00": "a"},
            {"A=B": "a"},
            {"": "a"},
            {"X": "\ud800"},
            {"\udfff": "a"},
            {"X": 10**400},
            {"X": 10**6000},
            {"X": float("nan")},
            {"X": float("inf")},
            {"X": datetime.date(2026, 1, 1)},
            {5: "a"},
            {None: "a"},
            {True: "a"},
            "X=1",
            ["X=1"],
        ],
    )
    def test_what_no_container_can_hold_is_refused(self, environment: object) -> None:
        with pytest.raises(DefinitionInvalid, match=r"settings\.environment"):
            parse(with_value("settings.environment", environment))

    def test_no_error_shows_a_value_of_the_environment(self) -> None:
        with pytest.raises(DefinitionInvalid) as caught:
            parse(with_value("settings.environment", "TOKEN=hunter22"))
        assert "hunter22" not in str(caught.value)

    def test_a_definition_printed_shows_no_secret(self) -> None:
        raw = with_value("settings.environment", {"TOKEN": "hunter22"})
        raw["settings"]["invocation"] = "run --password hunter22"
        raw["process_configuration"] = {
            "configs": [{"file": "a", "parser": "file", "replace": [{"match": "p=", "replace_with": "p=hunter22"}]}]
        }
        assert "hunter22" not in repr(parse(raw))


WRONG_TYPES = [
    ("settings.suspended", "false", "true or false"),
    ("settings.suspended", 0, "true or false"),
    ("settings.build.memory_limit", "512", "a whole number of 0 or more"),
    ("settings.build.memory_limit", -1, "a whole number of 0 or more"),
    ("settings.build.memory_limit", True, "a whole number of 0 or more"),
    ("settings.build.memory_limit", 1.5, "a whole number of 0 or more"),
    ("settings.build.memory_limit", 10**30, "a whole number from 0 to 1000000000"),
    ("settings.build.disk_space", 1.5, "a whole number"),
    ("settings.build.disk_space", -(10**30), "a whole number from -1000000000 to 1000000000"),
    ("settings.mounts", [{"source": "/" + "a" * 256, "target": "/x"}], "at most 255 bytes between two slashes"),
    ("settings.mounts", [{"source": "/srv", "target": "/x/" + "é" * 128}], "at most 255 bytes between two slashes"),
    ("settings.mounts", [{"source": "/srv", "target": "/abc" * 1024}], "a path of at most 4095 bytes"),
    ("settings.build.swap", -2, "a whole number of -1 or more"),
    ("settings.build.io_weight", 9, "0 or a whole number from 10 to 1000"),
    ("settings.build.io_weight", 1001, "0 or a whole number from 10 to 1000"),
    ("settings.build.cpu_limit", -1, "a whole number of 0 or more"),
    ("settings.build.threads", "all", "numbers of CPUs"),
    ("settings.build.threads", "3-1", "numbers of CPUs"),
    ("settings.build.threads", "0,", "numbers of CPUs"),
    ("settings.build.threads", "٣", "numbers of CPUs"),
    ("settings.build.oom_disabled", "yes", "true or false"),
    ("settings.container.image", "", "an image"),
    ("settings.container.image", "~", "an image"),
    ("settings.container.image", "~~game", "an image"),
    ("settings.container.image", "game 1", "an image"),
    ("settings.container.image", 7, "text"),
    ("settings.invocation", ["run"], "text"),
    ("settings.labels", {"a": []}, "text"),
    ("settings.mounts", {"a": 1}, "a list of mounts"),
    ("settings.mounts", ["/srv"], "a map"),
    ("settings.mounts", [{"source": "srv", "target": "/x"}], "a path that begins with /"),
    ("settings.mounts", [{"source": "/srv", "target": ""}], "a path that begins with /"),
    ("settings.mounts", [{"source": "/srv", "target": "/x", "read_only": 1}], "true or false"),
    ("settings.allocations.default.ip", "game.example", "an IP address"),
    ("settings.allocations.default.ip", "fe80::1%eth0", "an IP address without a zone"),
    ("settings.allocations.default.port", 65536, "a whole number from 0 to 65535"),
    ("settings.allocations.mappings", {"0.0.0.0": 25565}, "a list of ports"),
    ("settings.allocations.mappings", {"0.0.0.0": ["25565"]}, "a whole number"),
    ("process_configuration.startup.done", "ready", "a list of text"),
    ("process_configuration.startup.done", [5], "text"),
    ("process_configuration.startup.strip_ansi", 1, "true or false"),
    ("process_configuration.stop.type", "comand", "command, signal or stop"),
    ("process_configuration.stop.timeout", -1, "a whole number of seconds from 0 to 604800"),
    ("process_configuration.stop.timeout", 10**12, "a whole number of seconds from 0 to 604800"),
    ("process_configuration.configs", [{"file": "a", "parser": "file", "replace": [{"match": "a", "replace_with": []}]}], "text"),
    (
        "process_configuration.configs",
        [{"file": "a", "parser": "file", "replace": [{"match": "a", "if_value": True, "replace_with": 1}]}],
        "text",
    ),
    ("process_configuration.configs", [{"file": "", "parser": "file"}], "text that is not empty"),
    ("settings", 5, "a map"),
    ("settings.build", "none", "a map"),
    ("process_configuration", ["x"], "a map"),
]


class TestWrongTypes:
    @pytest.mark.parametrize(
        ("key", "value", "expected"), WRONG_TYPES, ids=[f"{key}-{index}" for index, (key, _unused, _unused) in enumerate(WRONG_TYPES)]
    )
    def test_the_sentence_names_source_key_and_expected_type(self, key: str, value: object, expected: str) -> None:
        raw = with_value(key, value) if key != "settings" else {"settings": value}
        with pytest.raises(DefinitionInvalid) as caught:
            parse(raw)
        sentence = str(caught.value)
        assert sentence.startswith(f"Cannot read definition game.yml: {key}")
        assert expected in sentence
        assert not sentence.endswith(".")
        assert len(sentence) < 300

    @pytest.mark.parametrize("raw", [None, 5, "text", True, 1.5, ["x"], [], {}, {5: 1}, {"settings": {None: 1}}, DEEP, {"settings": DEEP}])
    def test_what_is_no_definition_at_all_is_refused(self, raw: object) -> None:
        with pytest.raises(DefinitionInvalid, match=r"Cannot read definition game\.yml"):
            parse(raw)

    @pytest.mark.parametrize(
        ("rule", "key"),
        [({"replace_with": 1}, "match"), ({"match": "a"}, "replace_with"), ({"match": None, "replace_with": 1}, "match")],
    )
    def test_an_item_of_a_list_is_named_by_its_number(self, rule: dict[str, Any], key: str) -> None:
        config = {"file": "a", "parser": "file", "replace": [{"match": "x", "replace_with": "y"}, rule]}
        with pytest.raises(DefinitionInvalid, match=rf"process_configuration\.configs\[0\]\.replace\[1\]\.{key} is missing"):
            parse(with_value("process_configuration.configs", [config]))

    def test_every_fault_is_found_at_once_and_none_is_found_twice(self) -> None:
        raw = with_value("settings.build", {"memory_limit": "64MB", "swap": True, "cpu_limit": 1})
        raw["settings"]["uuid"] = OTHER
        raw["settings"]["container"] = "game:1"
        raw["settings"]["environment"] = {"A=B": "1", "": "2"}
        raw["settings"]["mounts"] = [{"source": "a"}, 5]
        raw["settings"]["allocations"] = {"mappings": {"here": ["a", 1], "fe80::1%eth0": [2]}}
        raw["process_configuration"] = {
            "stop": {"type": "signal", "value": "SIGNONE"},
            "configs": [{"file": "a", "replace": [{"match": "b"}]}],
        }
        raw["setings"] = {}
        place = schema.KeyLocation("", [])
        with pytest.raises(schema.Mismatch) as raised:
            read_definition(raw, UUID, place)
        assert sorted(fault.key for fault in raised.value.every) == sorted(
            [
                *("settings.uuid", "settings.container", "settings.build.memory_limit", "settings.build.swap"),
                *("settings.environment", "settings.environment.A=...", "settings.mounts[0].source", "settings.mounts[0].target"),
                *("settings.mounts[1]", "settings.allocations.mappings.here", "settings.allocations.mappings.here[0]"),
                *("settings.allocations.mappings.fe80::1%eth0", "process_configuration.stop.value"),
                *("process_configuration.configs[0].parser", "process_configuration.configs[0].replace[0].replace_with"),
            ]
        )
        assert place.unknown == ["setings"]

    @pytest.mark.parametrize("raw", [{}, {"settings": {}}, {"settings": {"uuid": None}}])
    def test_a_uuid_that_is_missing_is_one_fault_although_its_place_says_which_it_is(self, raw: object) -> None:
        with pytest.raises(schema.Mismatch) as raised:
            read_definition(raw, UUID)
        assert [fault.key for fault in raised.value.every] == ["settings.uuid", "settings.container.image"]

    def test_of_a_thousand_faults_a_hundred_are_told(self) -> None:
        with pytest.raises(schema.Mismatch) as raised:
            read_definition(with_value("process_configuration.startup.done", [1] * 1000), None)
        assert len(raised.value.every) == 100

    def test_a_dotted_key_is_no_way_around_the_table(self) -> None:
        definition = parse(with_value("settings", {**minimal()["settings"], "build.memory_limit": 7}))
        assert definition.build.memory_limit == 0
        assert definition.warnings == ("unknown keys ignored: settings.build.memory_limit",)


class TestUnknownKeys:
    def test_a_mistyped_limit_is_warned_of(self) -> None:
        raw = with_value("settings.build.memory", 512)
        raw["settings"]["mounts"] = [{"source": "/srv", "target": "/x", "readonly": True}]
        assert parse(raw).warnings == ("unknown keys ignored: settings.build.memory, settings.mounts[0].readonly",)

    def test_many_are_one_short_line(self) -> None:
        definition = parse({**minimal(), **{f"key{number}": DEEP for number in range(100)}})
        assert definition.warnings == ("unknown keys ignored: key0, key1, key2, key3, key4 and 95 more",)

    def test_control_characters_in_a_key_are_not_repeated(self) -> None:
        assert parse({**minimal(), "\x1b[31m" + "x" * 1000: 1}).warnings[0].isprintable()


class TestAllocations:
    def test_ports_that_are_none_are_skipped_with_one_warning(self) -> None:
        definition = parse(with_value("settings.allocations.mappings", {"0.0.0.0": [0, 25565, 65536, -1, 25565], "::": None}))
        assert definition.allocations.mappings == (("0.0.0.0", (25565,)), ("::", ()))
        assert definition.warnings == ("settings.allocations.mappings.0.0.0.0: skipped what is not between 1 and 65535: 0, 65536, -1",)

    @pytest.mark.parametrize("address", ["", "localhost", "0.0.0.0/0", "fe80::1%eth0", "1.2.3"])
    def test_ports_are_published_on_addresses_only(self, address: str) -> None:
        with pytest.raises(DefinitionInvalid, match=r"settings\.allocations\.mappings"):
            parse(with_value("settings.allocations.mappings", {address: [25565]}))

    @pytest.mark.parametrize("default", [None, {}, {"ip": None, "port": 0}])
    def test_a_server_may_have_no_address_of_its_own(self, default: object) -> None:
        allocations = parse(with_value("settings.allocations.default", default)).allocations
        assert (allocations.default_ip, allocations.default_port) == ("0.0.0.0", 0)


class TestBuild:
    @pytest.mark.parametrize(
        ("build", "container", "disabled"),
        [
            ({}, {}, False),
            ({"oom_disabled": True}, {}, True),
            ({}, {"oom_disabled": True}, True),
            ({"oom_disabled": False}, {"oom_disabled": True}, False),
            ({"oom_killer": True}, {}, False),
            ({"oom_killer": False}, {}, True),
            ({"oom_killer": False, "oom_disabled": False}, {}, False),
        ],
    )
    def test_the_oom_killer_is_told_of_in_three_ways(self, build: dict[str, bool], container: dict[str, bool], disabled: bool) -> None:
        raw = with_value("settings.build", build)
        raw["settings"]["container"].update(container)
        assert parse(raw).build.oom_disabled is disabled

    @pytest.mark.parametrize(
        ("written", "threads"), [(None, ""), ("", ""), (0, "0"), ("0-1", "0-1"), ("0, 2-3", "0,2-3"), ("0,4-7,9", "0,4-7,9")]
    )
    def test_cpus_are_read(self, written: object, threads: str) -> None:
        assert parse(with_value("settings.build.threads", written)).build.threads == threads

    def test_a_negative_disk_limit_is_taken_for_unlimited(self) -> None:
        assert parse(with_value("settings.build.disk_space", -1)).build.disk_space == -1


class TestStop:
    @pytest.mark.parametrize(
        ("stop", "way"),
        [
            ({"type": "command", "value": "stop"}, StopWay(StopType.COMMAND, "stop")),
            ({"type": "command", "value": 5}, StopWay(StopType.COMMAND, "5")),
            ({"type": "command", "value": "say bye\nstop", "timeout": 20}, StopWay(StopType.COMMAND, "say bye\nstop", 20)),
            ({"type": "signal", "value": "C"}, StopWay(StopType.SIGNAL, "SIGINT")),
            ({"type": "signal", "value": "^C", "timeout": 0}, StopWay(StopType.SIGNAL, "SIGINT", 0)),
            ({"type": "signal", "value": 15}, StopWay(StopType.SIGNAL, "SIGTERM")),
            ({"type": "stop", "value": None}, StopWay(StopType.NATIVE)),
            ({"type": "stop", "value": "ignored", "timeout": 5}, StopWay(StopType.NATIVE, "", 5)),
        ],
    )
    def test_each_type_is_read_without_a_warning(self, stop: dict[str, Any], way: StopWay) -> None:
        definition = parse(with_value("process_configuration.stop", stop))
        assert definition.stop == way
        assert definition.warnings == ()

    @pytest.mark.parametrize(
        "stop",
        [
            None,
            {},
            [],
            {"type": None},
            {"type": "", "value": "x"},
            {"type": "command", "value": ""},
            {"type": "command", "value": None},
            {"type": "command"},
            {"type": "signal", "value": " "},
        ],
    )
    def test_a_stop_that_names_no_way_is_native_with_a_warning(self, stop: object) -> None:
        definition = parse(with_value("process_configuration.stop", stop))
        assert definition.stop == StopWay(StopType.NATIVE)
        assert len(definition.warnings) == 1
        assert definition.warnings[0].startswith("process_configuration.stop names no")

    @pytest.mark.parametrize(
        "value", ["SIGFOO", "0", "65", "-1", "99999999999999999999", "C C", "RTMIN+40", "RTMIN-1", "RTMAX+1", "\x00", "٣", 10**30]
    )
    def test_an_unknown_signal_is_refused_and_not_taken_for_sigkill(self, value: object) -> None:
        with pytest.raises(DefinitionInvalid, match=r"process_configuration\.stop\.value"):
            parse(with_value("process_configuration.stop", {"type": "signal", "value": value}))


class TestStopSignal:
    @pytest.mark.parametrize(
        ("written", "name"),
        [
            ("C", "SIGINT"),
            ("c", "SIGINT"),
            ("^C", "SIGINT"),
            ("^c", "SIGINT"),
            ("SIGINT", "SIGINT"),
            ("INT", "SIGINT"),
            ("int", "SIGINT"),
            (" sigint ", "SIGINT"),
            ("^SIGTERM", "SIGTERM"),
            ("2", "SIGINT"),
            ("09", "SIGKILL"),
            ("15", "SIGTERM"),
            ("SIGABRT", "SIGABRT"),
            ("IOT", "SIGABRT"),
            ("QUIT", "SIGQUIT"),
            ("usr1", "SIGUSR1"),
            ("SIGRTMIN", "34"),
            ("SIGRTMIN+3", "37"),
            ("37", "37"),
            ("RTMAX", "64"),
            ("RTMAX-1", "63"),
        ],
    )
    def test_every_way_to_write_a_signal_gives_its_name(self, written: str, name: str) -> None:
        assert stop_signal(written) == name
        assert stop_signal(name) == name

    @given(st.text(max_size=12))
    def test_any_other_text_is_a_value_error(self, text: str) -> None:
        try:
            name = stop_signal(text)
            assert name.startswith("SIG") or 34 <= int(name) <= 64
        except ValueError as error:
            assert "expected" in str(error)


class TestConfigs:
    def test_php_writes_numeric_keys_as_numbers(self) -> None:
        rule = {"match": 5, "if_value": 7, "value": None}
        definition = parse(with_value("process_configuration.configs", [{"file": "a", "parser": "file", "replace": [rule]}]))
        found = definition.configs[0].rules[0]
        assert (found.match, found.if_value, found.replace_with) == ("5", "7", None)

    def test_value_is_another_name_of_replace_with(self) -> None:
        for name in ("value", "replace_with"):
            config = {"file": "a", "parser": "file", "replace": [{"match": "a", name: False}]}
            assert parse(with_value("process_configuration.configs", [config])).configs[0].rules[0].replace_with is False


class TestSecrets:
    def test_values_of_six_characters_and_their_lines_are_secrets(self) -> None:
        definition = parse(with_value("settings.environment", {"A": "12345", "B": "123456", "C": "first line\nsecond\n x ", "D": 1234567}))
        assert secrets_of(definition) == {"123456", "first line\nsecond\n x ", "first line", "second", "1234567"}

    def test_what_configuration_files_are_given_as_text_is_secret(self) -> None:
        values = ["rcon-hunter22", "short", 1234567, True, None, "a line\nhunter33"]
        rules = [{"match": f"m{number}", "replace_with": value} for number, value in enumerate(values)]
        raw = with_value("process_configuration.configs", [{"file": "a", "parser": "file", "replace": rules}])
        assert secrets_of(parse(raw)) == {"rcon-hunter22", "a line\nhunter33", "a line", "hunter33"}

    def test_every_key_that_is_secret_is_known_as_one(self) -> None:
        values: dict[str, Any] = {
            "settings.environment": {"A": "hunter22"},
            "settings.invocation": "./game --key=hunter22",
            "process_configuration.configs": [{"file": "a", "parser": "file", "replace": [{"match": "a", "replace_with": "hunter22"}]}],
        }
        assert {key.name for key in KEYS if key.secret} == set(values)
        assert {secrets_of(parse(with_value(name, value))) for name, value in values.items()} == {frozenset({"hunter22"})}

    @pytest.mark.parametrize(
        ("invocation", "secrets"),
        [
            ("java -Drcon=hunter22 -jar server.jar", {"hunter22"}),
            ("./game --key=a=hunter22\t--x=hunter33", {"a=hunter22", "hunter33"}),
            ("./game --key=\"hunter22\" '--other=hunter33'", {"hunter22", "hunter33"}),
            ("./game --key={{RCON_PASSWORD}} --x=short -key hunter22", set()),
            ("", set()),
        ],
    )
    def test_what_an_argument_of_the_start_command_is_set_to_is_secret(self, invocation: str, secrets: set[str]) -> None:
        assert secrets_of(parse(with_value("settings.invocation", invocation))) == secrets

    @pytest.mark.parametrize(
        "raw",
        [
            "hunter22",
            {"settings": "hunter22"},
            {**minimal(), "process_configuration": "hunter22"},
            with_value("settings.environment", "hunter22"),
            with_value("settings.environment", {"TOKEN=hunter22": None}),
            with_value("settings.environment", ["TOKEN=hunter22"]),
            with_value("settings.build", "hunter22"),
            with_value("settings.labels", "hunter22"),
            with_value("settings.mounts", ["hunter22"]),
            with_value("settings.invocation", ["hunter22"]),
            with_value("process_configuration.startup.done", "hunter22"),
            with_value("process_configuration.configs", "hunter22"),
            with_value("process_configuration.configs", [{"file": "a", "parser": "file", "replace": "hunter22"}]),
        ],
    )
    def test_what_stands_where_a_map_or_list_should_is_not_shown(self, raw: object) -> None:
        with pytest.raises(DefinitionInvalid) as caught:
            parse(raw)
        assert "hunter" not in str(caught.value)
        assert "hunter" not in str(caught.value.facts)

    def test_a_name_with_an_equals_sign_is_shown_up_to_it(self) -> None:
        with pytest.raises(DefinitionInvalid, match=r"settings\.environment\.TOKEN=\.\.\. is not the name of a variable"):
            parse(with_value("settings.environment", {"TOKEN=hunter22": None}))

    def test_an_unknown_key_is_shown_without_the_value_that_became_part_of_it(self) -> None:
        raw = {**minimal(), "token:hunter22": None, "token=hunter22": None, "a.b:hunter22": None}
        assert parse(raw).warnings == ("unknown keys ignored: token:..., token=..., a.b:...",)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([10**4000, "\ud800", "a\x00b", -1, 0, "~", "^C"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.integers() | st.none(), inner, max_size=3),
    max_leaves=8,
)
FULL = json.loads((FIXTURES / "source-engine.json").read_text(encoding="utf-8"))
FULL["settings"]["mounts"] = [{"source": "/srv/maps", "target": "/maps", "read_only": True}]
FULL["settings"]["labels"] = {"tier": "game"}


def places(node: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value of a document."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for name, child in children for place in places(child, (*path, name)))]


PLACES = [place for place in places(FULL) if place]


def parsed_or_refused(raw: object) -> Definition | None:
    try:
        return parse(raw)
    except DefinitionInvalid as error:
        assert "\n" not in str(error)
        return None


class TestHostileInput:
    @given(JSON)
    def test_any_value_is_a_definition_or_refused(self, raw: object) -> None:
        parsed_or_refused(raw)

    @settings(max_examples=100, deadline=None)
    @given(st.data())
    def test_a_definition_with_anything_anywhere_is_read_or_refused(self, data: st.DataObject) -> None:
        raw = copy.deepcopy(FULL)
        *path, last = data.draw(st.sampled_from(PLACES))
        node = raw
        for name in path:
            node = node[name]
        node[last] = data.draw(JSON)
        definition = parsed_or_refused(raw)
        if definition is not None:
            assert isinstance(definition, Definition)
            assert all("\n" not in warning for warning in definition.warnings)

    def test_every_kind_of_key_refuses_rather_than_crashes(self) -> None:
        values = [
            None,
            True,
            0,
            -1,
            10**5000,
            1.5,
            float("nan"),
            "",
            "x",
            "\x00",
            "\ud800",
            [],
            [None],
            {},
            {"": None},
            {None: 1},
            DEEP,
            object(),
            b"x",
        ]
        for key in schema.every_key(definition_keys.KEYS):
            for value in values:
                try:
                    key.type.read(value, schema.KeyLocation(key.name, []))
                except schema.Mismatch as mismatch:
                    assert str(mismatch).startswith(key.name)


# ----- what places a server among others


@pytest.mark.parametrize(
    "told, egg",
    [
        ({"id": "5d7b0c1e", "file_denylist": []}, "5d7b0c1e"),
        ("5d7b0c1e", "5d7b0c1e"),
        ({"id": 15}, "15"),
        (15, "15"),
        ({"id": ""}, None),
        ({}, None),
        ([], None),
        (None, None),
        ({"id": None}, None),
        ({"id": [1]}, None),
        ({"id": True}, None),
        ({"id": "half \ud800"}, None),
        ({"id": 10**40}, None),
    ],
)
def test_an_egg_is_its_id_and_no_form_of_it_makes_a_definition_invalid(told: object, egg: str | None) -> None:
    assert parse(with_value("settings.egg", told)).egg == egg


def test_a_priority_is_a_whole_number_and_unset_where_none_is_said() -> None:
    assert parse(minimal()).priority is None
    assert parse(with_value("settings.meta.priority", -3)).priority == -3
    with pytest.raises(DefinitionInvalid, match=r"settings\.meta\.priority is .*, expected a whole number"):
        parse(with_value("settings.meta.priority", "first"))


class Noted(dict[str, Any]):
    """Values, and the names of those that were asked for."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)


def test_every_key_that_counts_as_used_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    complete, noted = schema.ReadValues.complete, []

    def note(self: schema.ReadValues, keys: Any) -> Noted:
        noted.append(Noted(complete(self, keys)))
        return noted[0]

    monkeypatch.setattr(schema.ReadValues, "complete", note)
    parse(minimal())
    assert noted[0].read == {key.name for key in definition_keys.KEYS if key.used}
