# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Definitions of users and Panels: a valid text becomes a value, and an error names the wrong key."""

from __future__ import annotations

import json
import time
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
)
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.stop_way import stop_signal
from ansible_collections.fleet.power.plugins.module_utils._power.model import schema
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import DefinitionInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import StopType, StopWay
from ansible_collections.fleet.power.tests.unit.docs_support import every_key
from hypothesis import given
from hypothesis import strategies as st

FIXTURES = Path(__file__).parent / "fixtures" / "definitions"
UUID = "566bf9d7-c55a-45f8-91a6-e55e9b9b1325"
OTHER = "11111111-0000-4000-8000-000000000001"
DEEP = json.loads("[" * 500 + "]" * 500)


def minimal() -> dict[str, Any]:
    return {"settings": {"uuid": UUID, "container": {"image": "game:1"}}}


def with_value(key: str, value: object) -> dict[str, Any]:
    raw: dict[str, Any] = minimal()
    *path, last = key.split(".")
    node = raw
    for name in path:
        node = node.setdefault(name, {})
    node[last] = value
    return raw


def parse(raw: object) -> Definition:
    return parse_definition(raw, where="game.yml")


class TestFixtures:
    def test_a_complete_definition_is_read(self) -> None:
        paper = parse(json.loads((FIXTURES / "paper.json").read_text(encoding="utf-8")))
        assert paper.server.short_id == "566bf9d7"
        assert paper.build.memory_limit == 2048
        assert paper.build.threads == "0-1"
        assert paper.allocations.mappings == (("0.0.0.0", (25601, 25611)),)
        assert paper.startup.done == (")! For help, type ",)
        assert paper.stop == StopWay(StopType.COMMAND, "stop")
        assert [rule.match for rule in paper.configs[0].rules][:2] == ["server-ip", "server-port"]
        assert paper.warnings == ()


class TestDefaults:
    def test_only_uuid_and_image_are_required(self) -> None:
        definition = parse(minimal())
        assert definition.stop == StopWay(StopType.NATIVE)
        assert definition.startup.done == ()
        assert definition.environment == ()
        assert definition.mounts == ()
        assert not definition.suspended
        assert definition.warnings == ()

    def test_a_minimal_definition_gets_the_defaults_of_the_table(self) -> None:
        defaults = {key.name: key.default for key in KEYS}
        build = parse(minimal()).build
        for name in ("memory_limit", "swap", "io_weight", "cpu_limit", "threads", "disk_space"):
            assert getattr(build, name) == defaults[f"settings.build.{name}"]
        assert parse(minimal()).allocations.default_ip == defaults["settings.allocations.default.ip"]

    @pytest.mark.parametrize(
        "key",
        ["settings.environment", "settings.allocations.mappings", "settings.build", "process_configuration"],
    )
    def test_an_empty_list_of_php_is_read_as_an_empty_map(self, key: str) -> None:
        assert parse(with_value(key, [])).warnings == ()


class TestIdentity:
    @pytest.mark.parametrize("uuid", ["", "566bf9d7", UUID.replace("-", ""), f"{UUID}\x00", 5])
    def test_only_a_full_uuid_is_valid(self, uuid: object) -> None:
        with pytest.raises(DefinitionInvalid, match=r"settings\.uuid"):
            parse(with_value("settings.uuid", uuid))


class TestEnvironment:
    @pytest.mark.parametrize("value", [[], ["x"], {"a": 1}, DEEP])
    def test_a_list_or_map_is_empty_with_a_warning(self, value: object) -> None:
        definition = parse(with_value("settings.environment", {"X": value}))
        assert definition.environment == (("X", ""),)
        assert "settings.environment.X" in definition.warnings[0]

    @pytest.mark.parametrize(
        "environment",
        [{"X": "a\x00b"}, {"X\x00": "a"}, {"A=B": "a"}, {"": "a"}, {"X": "\ud800"}, {"X": 10**400}, {"X": float("nan")}, {5: "a"}, ["X=1"]],
    )
    def test_an_environment_that_no_container_can_have_is_refused(self, environment: object) -> None:
        with pytest.raises(DefinitionInvalid, match=r"settings\.environment"):
            parse(with_value("settings.environment", environment))

    def test_the_repr_of_a_definition_shows_no_secret(self) -> None:
        raw = with_value("settings.environment", {"TOKEN": "hunter22"})
        raw["settings"]["invocation"] = "run --password hunter22"
        raw["process_configuration"] = {
            "configs": [{"file": "a", "parser": "file", "replace": [{"match": "p=", "replace_with": "p=hunter22"}]}]
        }
        assert "hunter22" not in repr(parse(raw))


WRONG_TYPES = [
    ("settings.suspended", "false", "true or false"),
    ("settings.build.memory_limit", "512", "a whole number of 0 or more"),
    ("settings.build.memory_limit", -1, "a whole number of 0 or more"),
    ("settings.build.memory_limit", True, "a whole number of 0 or more"),
    ("settings.build.memory_limit", 10**30, "a whole number from 0 to 1000000000"),
    ("settings.build.disk_space", -(10**30), "a whole number from -1000000000 to 1000000000"),
    ("settings.mounts", [{"source": "/" + "a" * 256, "target": "/x"}], "at most 255 bytes between two slashes"),
    ("settings.mounts", [{"source": "/srv", "target": "/abc" * 1024}], "a path of at most 4095 bytes"),
    ("settings.build.io_weight", 9, "0 or a whole number from 10 to 1000"),
    ("settings.build.threads", "all", "numbers of CPUs"),
    ("settings.build.threads", "٣", "numbers of CPUs"),
    ("settings.container.image", "", "an image"),
    ("settings.container.image", "game 1", "an image"),
    ("settings.invocation", ["run"], "text"),
    ("settings.labels", {"a": []}, "text"),
    ("settings.mounts", {"a": 1}, "a list of mounts"),
    ("settings.mounts", [{"source": "srv", "target": "/x"}], "a path that begins with /"),
    ("settings.mounts", [{"source": "/srv", "target": "/x", "read_only": 1}], "true or false"),
    ("settings.allocations.default.ip", "game.example", "an IP address"),
    ("settings.allocations.default.ip", "fe80::1%eth0", "an IP address without a zone"),
    ("settings.allocations.default.port", 65536, "a whole number from 0 to 65535"),
    ("settings.allocations.mappings", {"0.0.0.0": ["25565"]}, "a whole number"),
    ("process_configuration.startup.done", "ready", "a list of text"),
    ("process_configuration.stop.type", "comand", "command, signal or stop"),
    ("process_configuration.stop.timeout", -1, "a whole number of seconds from 0 to 604800"),
    ("process_configuration.configs", [{"file": "a", "parser": "file", "replace": [{"match": "a", "replace_with": []}]}], "text"),
    ("process_configuration.configs", [{"file": "", "parser": "file"}], "text that is not empty"),
    ("settings", 5, "a map"),
]


class TestWrongTypes:
    @pytest.mark.parametrize(
        ("key", "value", "expected"), WRONG_TYPES, ids=[f"{key}-{index}" for index, (key, _unused, _unused) in enumerate(WRONG_TYPES)]
    )
    def test_the_error_names_source_key_and_expected_type(self, key: str, value: object, expected: str) -> None:
        raw = with_value(key, value) if key != "settings" else {"settings": value}
        with pytest.raises(DefinitionInvalid) as caught:
            parse(raw)
        sentence = str(caught.value)
        assert sentence.startswith(f"Cannot read definition game.yml: {key}")
        assert expected in sentence
        assert not sentence.endswith(".")
        assert len(sentence) < 300

    @pytest.mark.parametrize("raw", [None, "text", ["x"], {}, {5: 1}, DEEP])
    def test_a_value_without_settings_is_refused(self, raw: object) -> None:
        with pytest.raises(DefinitionInvalid, match=r"Cannot read definition game\.yml"):
            parse(raw)

    def test_all_faults_are_found_at_once_and_only_once(self) -> None:
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

    def test_a_misspelt_key_leads_to_the_right_one(self) -> None:
        raw = minimal()
        raw["settings"] = {**raw["settings"], "invokation": "java", "mounts": [{"source": "/a", "target": "/b", "readonly": True}]}
        hints = "settings.invokation (did you mean invocation?), settings.mounts[0].readonly (did you mean read_only?)"
        assert parse(raw).warnings == (f"unknown keys ignored: {hints}",)

    def test_thousands_of_misspelt_keys_take_no_time(self) -> None:
        raw = {**minimal(), **{f"setting{number}": 1 for number in range(20_000)}}
        begun = time.process_time()
        parse(raw)
        assert time.process_time() - begun < 2

    def test_a_dotted_key_is_an_unknown_key(self) -> None:
        definition = parse(with_value("settings", {**minimal()["settings"], "build.memory_limit": 7}))
        assert definition.build.memory_limit == 0
        assert definition.warnings == ("unknown keys ignored: settings.build.memory_limit",)


class TestBuild:
    @pytest.mark.parametrize(
        ("build", "container", "disabled"),
        [
            ({}, {}, False),
            ({}, {"oom_disabled": True}, True),
            ({"oom_disabled": False}, {"oom_disabled": True}, False),
            ({"oom_killer": False, "oom_disabled": False}, {}, False),
        ],
    )
    def test_three_keys_configure_the_oom_killer(self, build: dict[str, bool], container: dict[str, bool], disabled: bool) -> None:
        raw = with_value("settings.build", build)
        raw["settings"]["container"].update(container)
        assert parse(raw).build.oom_disabled is disabled


class TestStop:
    @pytest.mark.parametrize(
        ("stop", "way"),
        [
            ({"type": "command", "value": "stop"}, StopWay(StopType.COMMAND, "stop")),
            ({"type": "command", "value": "say bye\nstop", "timeout": 20}, StopWay(StopType.COMMAND, "say bye\nstop", 20)),
            ({"type": "signal", "value": "C"}, StopWay(StopType.SIGNAL, "SIGINT")),
            ({"type": "signal", "value": "^C", "timeout": 0}, StopWay(StopType.SIGNAL, "SIGINT", 0)),
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
        [None, {}, {"type": None}, {"type": "command", "value": ""}, {"type": "signal", "value": " "}],
    )
    def test_an_incomplete_stop_is_native_with_a_warning(self, stop: object) -> None:
        definition = parse(with_value("process_configuration.stop", stop))
        assert definition.stop == StopWay(StopType.NATIVE)
        assert len(definition.warnings) == 1
        assert definition.warnings[0].startswith("process_configuration.stop names no")


class TestStopSignal:
    @pytest.mark.parametrize(
        ("written", "name"),
        [
            ("C", "SIGINT"),
            ("SIGINT", "SIGINT"),
            ("INT", "SIGINT"),
            (" sigint ", "SIGINT"),
            ("09", "SIGKILL"),
            ("IOT", "SIGABRT"),
            ("37", "37"),
            ("RTMAX-1", "63"),
        ],
    )
    def test_every_spelling_of_a_signal_gives_its_name(self, written: str, name: str) -> None:
        assert stop_signal(written) == name
        assert stop_signal(name) == name


class TestSecrets:
    def test_values_of_six_characters_and_their_lines_are_secrets(self) -> None:
        definition = parse(with_value("settings.environment", {"A": "12345", "B": "123456", "C": "first line\nsecond\n x ", "D": 1234567}))
        assert secrets_of(definition) == {"123456", "first line\nsecond\n x ", "first line", "second", "1234567"}

    def test_text_values_for_configuration_files_are_secrets(self) -> None:
        values = ["rcon-hunter22", "short", 1234567, True, None, "a line\nhunter33"]
        rules = [{"match": f"m{number}", "replace_with": value} for number, value in enumerate(values)]
        raw = with_value("process_configuration.configs", [{"file": "a", "parser": "file", "replace": rules}])
        assert secrets_of(parse(raw)) == {"rcon-hunter22", "a line\nhunter33", "a line", "hunter33"}

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
    def test_values_of_arguments_of_the_start_command_are_secrets(self, invocation: str, secrets: set[str]) -> None:
        assert secrets_of(parse(with_value("settings.invocation", invocation))) == secrets

    @pytest.mark.parametrize(
        "raw",
        [
            "hunter22",
            {"settings": "hunter22"},
            with_value("settings.environment", {"TOKEN=hunter22": None}),
            with_value("settings.environment", ["TOKEN=hunter22"]),
            with_value("settings.build", "hunter22"),
            with_value("settings.invocation", ["hunter22"]),
            with_value("process_configuration.configs", [{"file": "a", "parser": "file", "replace": "hunter22"}]),
        ],
    )
    def test_an_error_does_not_show_a_value_of_the_wrong_type(self, raw: object) -> None:
        with pytest.raises(DefinitionInvalid) as caught:
            parse(raw)
        assert "hunter" not in str(caught.value)
        assert "hunter" not in str(caught.value.facts)

    def test_an_error_shows_a_name_only_up_to_its_equals_sign(self) -> None:
        with pytest.raises(DefinitionInvalid, match=r"settings\.environment\.TOKEN=\.\.\. is not the name of a variable"):
            parse(with_value("settings.environment", {"TOKEN=hunter22": None}))

    def test_a_warning_shows_an_unknown_key_without_a_value_inside_it(self) -> None:
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


def parsed_or_refused(raw: object) -> Definition | None:
    try:
        return parse(raw)
    except DefinitionInvalid as error:
        assert "\n" not in str(error)
        return None


class TestHostileInput:
    @given(JSON)
    def test_any_value_is_read_or_refused(self, raw: object) -> None:
        parsed_or_refused(raw)

    def test_every_key_type_refuses_bad_values_without_a_crash(self) -> None:
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
        for key in every_key(definition_keys.KEYS):
            for value in values:
                try:
                    key.type.read(value, schema.KeyLocation(key.name, []))
                except schema.Mismatch as mismatch:
                    assert str(mismatch).startswith(key.name)


@pytest.mark.parametrize(
    "written, egg",
    [
        ({"id": "5d7b0c1e", "file_denylist": []}, "5d7b0c1e"),
        ("5d7b0c1e", "5d7b0c1e"),
        ({"id": 15}, "15"),
        ([], None),
        ({"id": True}, None),
    ],
)
def test_the_id_of_an_egg_is_read_and_a_bad_egg_is_ignored(written: object, egg: str | None) -> None:
    assert parse(with_value("settings.egg", written)).egg == egg


class Noted(dict[str, Any]):
    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)


def test_every_key_marked_as_used_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    complete, noted = schema.ReadValues.complete, []

    def note(self: schema.ReadValues, keys: Any) -> Noted:
        noted.append(Noted(complete(self, keys)))
        return noted[0]

    monkeypatch.setattr(schema.ReadValues, "complete", note)
    parse(minimal())
    assert noted[0].read == {key.name for key in definition_keys.KEYS if key.used}
