# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The specification of a container: it follows Wings' rules, and its hash changes with the container."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.container.container_labels import (
    LABEL_NAME,
    LABEL_PARTS,
    LABEL_SERVER,
    LABEL_SPEC,
    LABEL_STOP,
    made_by_us,
    made_to_stop,
)
from ansible_collections.fleet.power.plugins.module_utils._power.container.container_spec import ContainerSpec, container_spec
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import parse_definition
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import Settings, parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import DefinitionInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

FIXTURES = Path(__file__).parent / "fixtures" / "definitions"
PAPER: dict[str, Any] = json.loads((FIXTURES / "paper.json").read_text(encoding="utf-8"))
UUID = PAPER["settings"]["uuid"]
DATA = f"/var/lib/fleet-power/volumes/{UUID}"
IMAGE_ID = "sha256:1111"


def node_settings(**changes: Any) -> Settings:
    raw = {"system": {"user": {"uid": 988, "gid": 987}, "timezone": "UTC"}}
    return replace(parse_settings(raw, where="config.yml"), **changes)


def changed(key: str, value: object, base: dict[str, Any] = PAPER) -> dict[str, Any]:
    raw = copy.deepcopy(base)
    *path, last = key.split(".")
    node = raw
    for name in path:
        node = node.setdefault(name, {})
    node[last] = value
    return raw


def spec(raw: object = PAPER, node: Settings | None = None, image_id: str = IMAGE_ID) -> ContainerSpec:
    definition = parse_definition(raw, where="game.json")
    return container_spec(definition, node or node_settings(), data_directory=DATA, image_id=image_id)


def host(raw: object = PAPER, node: Settings | None = None) -> dict[str, Any]:
    found: dict[str, Any] = spec(raw, node).config["HostConfig"]
    return found


def hash_of(raw: object = PAPER, node: Settings | None = None, image_id: str = IMAGE_ID) -> str:
    found = spec(raw, node, image_id).config["Labels"].get(LABEL_SPEC)
    assert found is not None
    return found


def build(**limits: int) -> dict[str, Any]:
    return changed("settings.build", limits)


class TestWhole:
    def test_a_specification_matches_that_of_wings(self) -> None:
        found = spec()
        config = dict(found.config)
        labels = config.pop("Labels")
        assert config.pop("HostConfig")["Mounts"] == [{"Type": "bind", "Source": DATA, "Target": "/home/container", "ReadOnly": False}]
        assert config == {
            "Hostname": UUID,
            "Domainname": "",
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "OpenStdin": True,
            "Tty": True,
            "Image": "fleet-power/testserver:latest",
            "User": "988:987",
            "ExposedPorts": {"25601/tcp": {}, "25601/udp": {}, "25611/tcp": {}, "25611/udp": {}},
            "Env": config["Env"],
        }
        ours = {LABEL_SERVER: UUID, LABEL_NAME: "Cobalt Survival", **{name: labels[name] for name in (LABEL_STOP, LABEL_SPEC, LABEL_PARTS)}}
        assert labels == ours
        assert found.warnings == ()

    def test_the_host_configuration_matches_that_of_wings(self) -> None:
        found = host()
        expected = {
            "CapDrop": found["CapDrop"],
            "Dns": ["1.1.1.1", "1.0.0.1"],
            "LogConfig": {"Type": "local", "Config": {"max-size": "5m", "max-file": "1", "compress": "false", "mode": "non-blocking"}},
            "Mounts": found["Mounts"],
            "NetworkMode": "pterodactyl_nw",
            "PidsLimit": 512,
            "PortBindings": found["PortBindings"],
            "ReadonlyRootfs": True,
            "RestartPolicy": {"Name": "no"},
            "SecurityOpt": ["no-new-privileges"],
            "Tmpfs": {"/tmp": "rw,exec,nosuid,size=100M"},
            "UsernsMode": "",
            "Memory": 2355200000,
            "MemoryReservation": 2048000000,
            "MemorySwap": 2611200000,
            "CpuQuota": 200000,
            "CpuPeriod": 100000,
            "CpuShares": 1024,
            "CpusetCpus": "0-1",
        }
        assert found == expected
        capabilities = "setpcap mknod audit_write net_raw dac_override fowner fsetid net_bind_service sys_chroot setfcap"
        assert {name.lower() for name in found["CapDrop"]} == set(capabilities.split())


class TestResources:
    @pytest.mark.parametrize("limit", [1, 5, 6])
    def test_memory_below_the_engines_minimum_is_refused(self, limit: int) -> None:
        node = node_settings(overhead_override=True, overhead_default_multiplier=100.0)
        for settings_of_node in (None, node):
            with pytest.raises(DefinitionInvalid, match=rf"settings\.build\.memory_limit is {limit} MB, expected at least 7 "):
                spec(build(memory_limit=limit), settings_of_node)
        found = host(build(memory_limit=7))
        assert min(found["Memory"], found["MemoryReservation"]) >= 6 * 1024 * 1024


class TestEnvironment:
    @pytest.mark.parametrize(
        ("key", "value", "longest", "named"),
        [
            ("settings.environment", lambda length: {"MOTD": "é" * length}, (131_071 - 5) // 2, "settings.environment.MOTD"),
            ("settings.environment", lambda length: {"a": "x" * length}, 131_071 - 2, "settings.environment.A"),
            ("settings.invocation", lambda length: "x" * length, 131_071 - 8, "settings.invocation"),
        ],
    )
    def test_a_variable_longer_than_linux_allows_is_refused(
        self, key: str, value: Callable[[int], object], longest: int, named: str
    ) -> None:
        def made(length: int) -> dict[str, Any]:
            return changed(key, value(length))

        assert max(len(entry.encode()) for entry in spec(made(longest)).config["Env"]) in (131_070, 131_071)
        with pytest.raises(
            DefinitionInvalid, match=rf"{named} makes a variable of 13107\d bytes with its name, expected at most 131071"
        ) as caught:
            spec(made(longest + 1))
        assert len(str(caught.value)) < 300


class TestPorts:
    @pytest.mark.parametrize(
        ("one", "other"),
        [("0.0.0.0", "192.0.2.7"), ("::", "2001:db8::1"), ("2001:db8::1", "2001:DB8:0:0::1"), ("0.0.0.0", "::ffff:192.0.2.7")],
    )
    def test_a_port_on_overlapping_addresses_is_refused(self, one: str, other: str) -> None:
        with pytest.raises(DefinitionInvalid) as caught:
            spec(changed("settings.allocations.mappings", {one: [24, 25], other: [26, 25]}))
        assert f"settings.allocations.mappings publishes port 25 on {one} and on {other}, which overlap" in str(caught.value)


class TestMounts:
    def mounted(
        self, *mounts: dict[str, Any], allowed: tuple[str, ...] = ("/srv/a",)
    ) -> tuple[list[tuple[str, str, bool]], tuple[str, ...]]:
        found = spec(changed("settings.mounts", list(mounts)), node_settings(allowed_mounts=allowed))
        entries = found.config["HostConfig"]["Mounts"][1:]
        return [(entry["Source"], entry["Target"], entry["ReadOnly"]) for entry in entries], found.warnings

    @pytest.mark.parametrize("source", ["/srv/ab", "/srv", "/srv/a/../b", "/srv/a/../../etc"])
    def test_a_source_outside_of_allowed_mounts_is_skipped_with_a_warning(self, source: str) -> None:
        entries, warnings = self.mounted({"source": source, "target": "/maps"})
        assert entries == []
        assert len(warnings) == 1
        assert "allowed_mounts" in warnings[0]

    @pytest.mark.parametrize("target", ["/proc", "/x/../proc/cpuinfo", "//sys/fs", "/dev/shm"])
    def test_a_target_in_a_directory_of_the_kernel_is_refused(self, target: str) -> None:
        with pytest.raises(DefinitionInvalid, match=r"settings\.mounts\[0\]\.target is .*, expected one not in /proc, /sys or /dev"):
            self.mounted({"source": "/srv/a", "target": target})

    def test_a_link_out_of_allowed_mounts_is_skipped(self, tmp_path: Path) -> None:
        allowed, outside = tmp_path / "allowed", tmp_path / "outside"
        for directory in (allowed, outside, allowed / "inside"):
            directory.mkdir()
        (allowed / "link").symlink_to(outside)
        (tmp_path / "alias").symlink_to(allowed)
        mounts = [{"source": str(allowed / "link"), "target": "/l"}, {"source": str(tmp_path / "alias/inside"), "target": "/i"}]
        definition = parse_definition(changed("settings.mounts", mounts), where="game.json")
        node = node_settings(allowed_mounts=(str(tmp_path / "alias"),))
        found = container_spec(definition, node, data_directory=DATA, image_id=IMAGE_ID, resolve=os.path.realpath)
        assert [entry["Source"] for entry in found.config["HostConfig"]["Mounts"][1:]] == [str(allowed / "inside")]
        assert len(found.warnings) == 1


def created(raw: object = PAPER) -> Snapshot:
    config = spec(raw).config
    return Snapshot("c", "renamed", live=True, labels=config["Labels"], hostname=config["Hostname"])


class TestLabels:
    def test_a_container_is_ours_if_its_labels_and_hostname_match(self) -> None:
        ours = created()
        assert made_by_us(ours, UUID)
        assert not made_by_us(ours, UUID[::-1])
        # An image can set labels, but no hostname.
        assert not made_by_us(replace(ours, hostname="c"), UUID)
        assert not made_by_us(replace(ours, labels={LABEL_SERVER: UUID}), UUID)
        assert not made_by_us(replace(ours, labels={**ours.labels, LABEL_SERVER: UUID[::-1]}), UUID)

    @pytest.mark.parametrize(
        "stop",
        [
            {"type": "command", "value": 'say "bye"\nstop', "timeout": 20},
            {"type": "command", "value": "stöp"},
            {"type": "signal", "value": "SIGRTMIN+3"},
        ],
    )
    def test_the_label_gives_back_the_stop_of_the_definition(self, stop: dict[str, Any]) -> None:
        raw = changed("process_configuration.stop", stop)
        assert made_to_stop(created(raw), UUID) == parse_definition(raw, where="x").stop

    @pytest.mark.parametrize(
        "text",
        [
            "stop",
            '{"type": "signal", "value": "FOO"}',
            '{"type": "command", "value": "a\\u0000"}',
            "9" * 5000,
        ],
        ids=range(4),
    )
    def test_an_unreadable_stop_label_gives_no_stop(self, text: str) -> None:
        ours = created()
        assert made_to_stop(replace(ours, labels={**ours.labels, LABEL_STOP: text}), UUID) is None


NOTICED = [
    ("settings.container.image", "game:2"),
    ("settings.invocation", "java -jar other.jar"),
    ("settings.environment.NEW", "1"),
    ("settings.labels", {"tier": "web"}),
    ("settings.build.memory_limit", 4096),
    ("settings.build.swap", 0),
    ("settings.build.io_weight", 10),
    ("settings.build.cpu_limit", 0),
    ("settings.build.threads", None),
    ("settings.build.oom_disabled", True),
    ("settings.allocations.default.ip", "192.0.2.7"),
    ("settings.allocations.default.port", 25611),
    ("settings.allocations.mappings", {"0.0.0.0": [25601]}),
    ("settings.mounts", [{"source": "/srv/maps", "target": "/maps"}]),
    ("process_configuration.stop.value", "end"),
    ("process_configuration.stop.type", "stop"),
    ("process_configuration.stop.timeout", 5),
]
NOT_NOTICED = [
    ("settings.meta.name", "Another Name"),
    ("settings.suspended", True),
    ("settings.build.disk_space", 1),
    ("settings.egg", {"id": "x"}),
    ("settings.skip_egg_scripts", True),
    ("settings.mounts", [{"source": "/not/allowed", "target": "/x"}]),
    ("settings.environment.startup", "shadowed by the built-in"),
    ("process_configuration.startup", {"done": ["other"]}),
    ("process_configuration.configs", []),
    ("unknown_key", 1),
]


class TestHash:
    NODE = node_settings(allowed_mounts=("/srv",))

    @pytest.mark.parametrize(("key", "value"), NOTICED, ids=[key for key, _unused in NOTICED])
    def test_a_changed_key_of_the_container_changes_the_hash(self, key: str, value: object) -> None:
        assert hash_of(changed(key, value), self.NODE) != hash_of(PAPER, self.NODE)

    @pytest.mark.parametrize(("key", "value"), NOT_NOTICED, ids=[key for key, _unused in NOT_NOTICED])
    def test_a_changed_key_outside_of_the_container_keeps_the_hash(self, key: str, value: object) -> None:
        assert hash_of(changed(key, value), self.NODE) == hash_of(PAPER, self.NODE)

    def test_a_limit_of_open_files_is_a_part_of_its_own_and_none_changes_nothing(self) -> None:
        limited = node_settings(nofile=65536)
        without, found = spec(PAPER).config, spec(PAPER, limited).config
        assert found["HostConfig"] == {
            **without["HostConfig"],
            "Ulimits": [{"Name": "nofile", "Soft": 65536, "Hard": 65536}],
        }
        parts, former = (json.loads(each["Labels"][LABEL_PARTS]) for each in (found, without))
        assert "docker.nofile" not in former and {**former, "docker.nofile": parts["docker.nofile"]} == parts
        assert hash_of(PAPER, limited) != hash_of(PAPER)


class TestAnyDefinition:
    @settings(max_examples=80)
    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "memory_limit": st.integers(0, 10**9),
                "swap": st.integers(-1, 10**9),
                "cpu_limit": st.integers(0, 10**9),
                "io_weight": st.integers(10, 1000),
            },
        ),
        st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5) | st.integers() | st.none(), max_size=3),
        st.lists(
            st.fixed_dictionaries(
                {"source": st.text("/.ab", max_size=6).map("/".__add__), "target": st.text("/.ab", max_size=6).map("/".__add__)}
            ),
            max_size=3,
        ),
    )
    def test_a_valid_definition_gives_a_specification_or_is_refused(
        self, limits: dict[str, int], environment: dict[str, Any], mounts: list[dict[str, str]]
    ) -> None:
        raw = build(**limits)
        raw["settings"].update(environment=environment, labels=environment, mounts=mounts)
        try:
            found = spec(raw, node_settings(allowed_mounts=("/a", "/b/a")))
        except DefinitionInvalid:
            return
        json.dumps(found.config, ensure_ascii=False).encode()
        targets = [mount["Target"] for mount in found.config["HostConfig"]["Mounts"]]
        assert len(targets) == len(set(targets))
        sources = [mount["Source"] for mount in found.config["HostConfig"]["Mounts"][1:]]
        assert all(source == base or source.startswith(base + "/") for source in sources for base in ("/a", "/b/a") if source[1] == base[1])
        assert all(".." not in source.split("/") for source in sources)
