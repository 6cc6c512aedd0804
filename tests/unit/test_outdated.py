# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Outdated containers: the keys that differ from the definition, and those that need a restart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.container.container_labels import LABEL_PARTS, LABEL_SPEC
from ansible_collections.fleet.power.plugins.module_utils._power.container.container_limits import (
    can_change,
    differing_limits,
    limits_of,
    update_of,
)
from ansible_collections.fleet.power.plugins.module_utils._power.container.container_parts import CONFIGS, Differences, compare
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import Settings
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import ContainerLimits, Snapshot
from ansible_collections.fleet.power.tests.unit.test_container_spec import (
    FIXTURES,
    NOT_NOTICED,
    NOTICED,
    PAPER,
    UUID,
    changed,
    node_settings,
    spec,
)
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

NODE = node_settings(allowed_mounts=("/srv",))
LIMITS = {"build.memory_limit", "build.swap", "build.cpu_limit", "build.io_weight", "build.threads", "docker.container_pid_limit"}


def container(config: Mapping[str, Any], **fields: Any) -> Snapshot:
    """The snapshot of a container that was created from this body."""
    given: dict[str, Any] = {"image": config["Image"], "labels": dict(config["Labels"]), "limits": limits_of(config["HostConfig"])}
    return Snapshot("c1", UUID, live=True, hostname=UUID, **{**given, **fields})


def differences(old: object = PAPER, new: object = PAPER, old_node: Settings = NODE, new_node: Settings = NODE) -> Differences:
    return compare(container(spec(old, old_node).config), spec(new, new_node).config)


def keys(found: Differences) -> set[str]:
    assert found.named
    return {*found.restart, *found.in_place}


def key_of(key: str) -> str:
    """The name of a definition's key among the differences. All keys of a stop share one name."""
    if key == "settings.labels":
        return "labels.tier"
    if key.startswith("process_configuration.stop"):
        return "process_configuration.stop"
    return "image" if key == "settings.container.image" else key.removeprefix("settings.")


class TestKeys:
    @pytest.mark.parametrize(("key", "value"), NOTICED, ids=[key for key, _unused in NOTICED])
    def test_a_changed_key_of_the_container_is_named(self, key: str, value: object) -> None:
        found = differences(new=changed(key, value))
        assert keys(found) == {key_of(key)} and found.is_outdated and not found.serves
        assert bool(found.in_place) is (key_of(key) in LIMITS and value is not None)

    @pytest.mark.parametrize(("key", "value"), NOT_NOTICED, ids=[key for key, _unused in NOT_NOTICED])
    def test_a_changed_key_outside_of_the_container_is_not_named(self, key: str, value: object) -> None:
        found = differences(new=changed(key, value))
        # Configuration files are no part of a container, but their change needs a restart.
        assert found == Differences(restart=(CONFIGS,) if key == CONFIGS else ())

    def test_rules_of_configuration_files_count_only_if_the_label_has_them(self) -> None:
        other = spec(changed("process_configuration.configs", [])).config
        assert not compare(container(spec().config), other).serves
        labels = dict(spec().config["Labels"])
        noted = json.loads(labels[LABEL_PARTS])
        for parts in (None, {key: value for key, value in noted.items() if key != CONFIGS}):
            kept = {name: label for name, label in labels.items() if name != LABEL_PARTS}
            kept |= {} if parts is None else {LABEL_PARTS: json.dumps(parts)}
            assert compare(container(spec().config, labels=kept), other).serves

    def test_the_label_hides_that_two_variables_or_servers_share_a_password(self) -> None:
        raw = changed("settings.environment", {"RCON_PASSWORD": "hunter2", "QUERY_PASSWORD": "hunter2"})
        other = json.loads(json.dumps(raw))
        other["settings"]["uuid"] = "11111111-2222-4333-8444-555555555555"
        labels = [json.loads(spec(each).config["Labels"][LABEL_PARTS]) for each in (raw, other)]
        passwords = [label[f"environment.{name}_PASSWORD"] for label in labels for name in ("RCON", "QUERY")]
        assert len(set(passwords)) == 4

    @pytest.mark.parametrize("path", sorted(FIXTURES.glob("[!l]*.json")), ids=lambda path: path.stem)
    def test_the_label_contains_no_value(self, path: Path) -> None:
        raw = json.loads(path.read_text(encoding="utf-8"))
        raw["settings"].setdefault("environment", {})["RCON_PASSWORD"] = "hunter2-hunter2"
        label = json.loads(spec(raw).config["Labels"][LABEL_PARTS])
        assert "environment.RCON_PASSWORD" in label
        assert all(len(value) in (0, 12) and (not value or int(value, 16) >= 0) for value in label.values())

    @hypothesis_settings(max_examples=60)
    @given(st.dictionaries(st.text("ABé☃-. x", min_size=1, max_size=4), st.text("ab=", max_size=3), max_size=3), st.data())
    def test_the_parts_differ_exactly_when_the_whole_differs(self, environment: dict[str, str], data: st.DataObject) -> None:
        other = data.draw(st.dictionaries(st.sampled_from([*environment, "X"]), st.text("ab=", max_size=3), max_size=3))
        old, new = (changed("settings.environment", each) for each in (environment, other))
        is_same = spec(old).config["Labels"][LABEL_SPEC] == spec(new).config["Labels"][LABEL_SPEC]
        assert differences(old, new).serves is is_same


class TestWithoutParts:
    @pytest.mark.parametrize("text", ["null", "[]", '{"image": 5}', "{", "[" * 100])
    def test_an_unreadable_label_names_no_differences(self, text: str) -> None:
        labels = {**spec().config["Labels"], LABEL_PARTS: text, LABEL_SPEC: "other"}
        assert compare(container(spec().config, labels=labels), spec().config) == Differences(named=False)


class TestLimits:
    def test_a_limit_changed_in_place_to_the_definitions_value_is_no_difference(self) -> None:
        new = changed("settings.build.cpu_limit", 150)
        stands = container(spec().config, limits=limits_of(spec(new).config["HostConfig"]))
        assert compare(stands, spec(new).config).serves
        assert compare(stands, spec().config) == Differences(in_place=("build.cpu_limit",))

    @pytest.mark.parametrize(
        ("build", "reported"),
        [
            ({"io_weight": 300}, {"io_weight": 0}),
            ({"memory_limit": 512, "swap": 100}, {"memory_swap": -1}),
            ({"cpu_limit": 50}, {"cpu_quota": 0, "cpu_period": 0, "cpu_shares": 0}),
        ],
    )
    def test_a_limit_that_the_engine_does_not_support_is_no_difference(self, build: dict[str, Any], reported: dict[str, Any]) -> None:
        old = changed("settings.build", build)
        limits = replace(limits_of(spec(old).config["HostConfig"]), **reported)
        assert compare(container(spec(old).config, limits=limits), spec(old).config).serves

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ({"memory_limit": 512}, {"memory_limit": 0}),
            ({"memory_limit": 512, "swap": 0}, {"memory_limit": 512, "swap": -1}),
            ({"oom_disabled": False}, {"oom_disabled": True}),
        ],
    )
    def test_a_limit_that_engines_cannot_change_needs_a_restart(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        found = differences(changed("settings.build", old), changed("settings.build", new))
        assert found.restart and not found.in_place


def limits(**given: Any) -> ContainerLimits:
    return limits_of(spec(changed("settings.build", given)).config["HostConfig"])


class TestUpdate:
    def body(self, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        now, wanted = limits(**old), limits(**new)
        return update_of(now, wanted, [key for key in differing_limits(now, wanted) if can_change(key, now, wanted)])

    @given(st.data())
    def test_an_update_sets_changeable_limits(self, data: st.DataObject) -> None:
        build = st.fixed_dictionaries(
            {
                "memory_limit": st.sampled_from([0, 7, 100, 500, 5000]),
                "swap": st.sampled_from([-1, 0, 10, 500]),
                "cpu_limit": st.sampled_from([0, 1, 50, 400]),
                "threads": st.sampled_from(["", "0", "0-1"]),
                "io_weight": st.sampled_from([0, 10, 500, 1000]),
            }
        )
        now, wanted = limits(**data.draw(build)), limits(**data.draw(build))
        able = [key for key in differing_limits(now, wanted) if can_change(key, now, wanted)]
        after = as_updated(now, update_of(now, wanted, able))
        assert set(differing_limits(after, wanted)) == set(differing_limits(now, wanted)) - set(able)


def as_updated(now: ContainerLimits, body: Mapping[str, Any]) -> ContainerLimits:
    """The limits after an update. As in the engine, 0 and empty change nothing, and memory is at most ``MemorySwap``."""
    host = {
        "Memory": now.memory,
        "MemoryReservation": now.reservation,
        "MemorySwap": now.memory_swap,
        "CpuQuota": now.cpu_quota,
        "CpuPeriod": now.cpu_period,
        "CpuShares": now.cpu_shares,
        "CpusetCpus": now.cpus,
        "BlkioWeight": now.io_weight,
        "PidsLimit": now.pids,
    }
    assert not body.get("Memory", 0) or body["MemorySwap"] == -1 or body["Memory"] <= body["MemorySwap"]
    assert not (now.memory and now.memory_swap > 0 and body.get("MemorySwap") == -1), "an engine ignores this change"
    return limits_of({**host, **{key: value for key, value in body.items() if value not in (0, "")}})
