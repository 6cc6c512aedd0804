# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pre-boot: checks before any change, and the steps that follow."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.boot.container import credentials_for
from ansible_collections.fleet.power.plugins.module_utils._power.container.container_labels import LABEL_SERVER, LABEL_SPEC, WAITING
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode
from ansible_collections.fleet.power.tests.unit.volume_support import made_ahead_of_the_walk, make_files

MIB = 1024 * 1024


def steps(result: Any) -> dict[str, bool]:
    return {step.step: step.changed for step in result.preboot}


class TestFirstBoot:
    def test_the_first_boot_makes_the_data_directory_and_then_the_container(self, fake: FakeNode) -> None:
        result = fake.perform("start")
        assert steps(result) == {"volume": True, "container": False, "disk": False, "placement": True, "configuration": False}
        assert fake.volume.is_dir()
        assert fake.engine.changes() == ["create", "rename", "start"]

    def test_an_equal_definition_changes_no_file_and_no_container(self, fake: FakeNode) -> None:
        fake.down()
        result = fake.perform("start")
        assert steps(result) == dict.fromkeys(("volume", "container", "disk", "placement", "configuration"), False)
        assert fake.engine.changes() == ["start"]


class TestContainer:
    def test_a_changed_definition_recreates_the_container(self, fake: FakeNode) -> None:
        old = fake.down().id
        fake.define(environment={"MODE": "hard"})
        assert steps(fake.perform("start"))["placement"]
        assert fake.engine.calls[:3] == [("create", f"{UUID}-next"), ("remove", "volumes"), ("rename",)]
        assert fake.seen().id != old

    def test_a_container_of_wings_is_replaced_and_its_anonymous_volumes_are_removed(self, fake: FakeNode) -> None:
        fake.down()
        fake.engine.change(UUID, labels={"Service": "Pterodactyl", "ContainerType": "server_process"})
        assert fake.perform("start").outcome.value == "done"
        assert fake.engine.calls[1] == ("remove", "volumes")

    @pytest.mark.parametrize("action", ["start", "restart"])
    def test_a_foreign_container_is_refused_and_left_alone(self, fake: FakeNode, action: str) -> None:
        fake.down()
        fake.engine.change(UUID, labels={}, live=action == "restart")
        result = fake.perform(action)
        assert (result.outcome.value, result.code, fake.engine.calls) == ("refused", "container_foreign", [])

    def test_a_container_that_starts_before_its_removal_is_not_removed(self, fake: FakeNode) -> None:
        fake.down()
        fake.define(environment={"MODE": "hard"})
        fake.engine.before["remove"].append(lambda: fake.engine.execute_start(UUID))
        result = fake.perform("start")
        assert (result.outcome.value, result.code) == ("refused", "preboot_failed")
        assert "another program started it" in result.msg
        assert fake.live

    @pytest.mark.parametrize(
        ("step", "change"),
        [
            ("container", {"labels": {}}),
            ("volume", {"gone": True}),
            ("image", {"image": "~not/here:1"}),
            ("mounts", {"mounts": [{"source": "/nowhere/at/all", "target": "/maps"}]}),
            ("disk", {"build": {"disk_space": 1}}),
        ],
    )
    def test_a_refusal_before_any_change_names_its_step(self, fake: FakeNode, step: str, change: dict[str, Any]) -> None:
        fake.up()
        if "labels" in change:
            fake.engine.change(UUID, labels={})
        elif "gone" in change:
            fake.volume.rmdir()
        elif "image" in change:
            fake.define(container={"image": change["image"]})
        else:
            fake.configure(allowed_mounts=["/nowhere"])
            fake.define(**change)
            (fake.volume / "world").write_bytes(b"x" * 3_000_000)
        result = fake.perform("restart")
        assert (result.outcome.value, result.changed, fake.live) == ("refused", False, True)
        assert [(each.step, each.failed, each.msg) for each in result.preboot] == [(step, True, result.msg)]

    def test_a_refused_creation_leaves_the_server_up(self, fake: FakeNode) -> None:
        fake.up()
        fake.define(environment={"MODE": "hard"})
        fake.engine.refuse("create", "no space for metadata")
        result = fake.perform("restart")
        assert (result.outcome.value, result.code, result.changed, fake.live) == ("refused", "preboot_failed", False, True)

    @pytest.mark.parametrize("suffix", WAITING)
    def test_a_waiting_container_of_a_crashed_action_is_removed(self, fake: FakeNode, suffix: str) -> None:
        fake.engine.containers.create(
            UUID + suffix, {"Image": "game:1", "Labels": {LABEL_SERVER: UUID, LABEL_SPEC: "old"}, "Hostname": UUID, "Env": []}
        )
        assert fake.perform("start").outcome.value == "done"
        assert [each.name for each in fake.engine.containers.values()] == [UUID]

    def test_a_new_container_stays_after_the_failure_of_a_later_step(self, fake: FakeNode) -> None:
        fake.down()
        fake.define(environment={"MODE": "hard"})
        fake.engine.after["rename"].append(fake.kill_elsewhere)
        assert fake.perform("start").code == "cancelled_by_kill"
        assert [each.name for each in fake.engine.containers.values()] == [UUID]
        assert "MODE=hard" in fake.seen().environment

    @pytest.mark.parametrize("what", ["the source", "a directory on the way to it"])
    def test_a_mount_swapped_for_a_link_at_the_last_moment_prevents_the_start(self, fake: FakeNode, what: str) -> None:
        top, private = fake.root / "maps", fake.root / "private"
        (top / "arena").mkdir(parents=True)
        (private / "arena").mkdir(parents=True)
        fake.configure(allowed_mounts=[str(top if what == "the source" else fake.root / "maps")])
        fake.define(mounts=[{"source": str(top / "arena"), "target": "/maps"}], process={"startup": {"done": ["ready"]}})
        fake.down()
        swapped = top / "arena" if what == "the source" else top

        def swap(call: object) -> None:
            # The last request to the engine before the start.
            if call == "attach":
                swapped.rename(fake.root / "before")
                swapped.symlink_to(private)

        fake.engine.witness = swap
        fake.engine.calls.clear()
        result = fake.perform("start", wait_for="running")
        assert (result.outcome.value, result.code, fake.live) == ("refused", "preboot_failed", False)
        assert str(top / "arena") in result.msg
        assert "start" not in fake.engine.changes()

    def test_the_setting_recreate_always_recreates_the_container_at_every_start(self, fake: FakeNode) -> None:
        fake.down()
        fake.configure(docker={"recreate": "always", "network": {"network_mode": "none"}})
        assert steps(fake.perform("start"))["placement"]


class TestVolume:
    def test_a_missing_data_directory_does_not_become_a_new_world(self, fake: FakeNode) -> None:
        fake.down()
        fake.volume.rmdir()
        assert fake.perform("start").code == "volume_missing"
        fake.engine.containers.clear()
        assert fake.perform("start").code == "volume_missing"
        assert not fake.volume.exists()
        fake.volume.mkdir()
        assert fake.perform("start").outcome.value == "done"

    @pytest.mark.parametrize("action", ["start", "restart"])
    def test_a_full_disk_is_refused_before_the_stop(self, fake: FakeNode, action: str) -> None:
        if action == "restart":
            fake.up()
        else:
            fake.down()
        fake.define(build={"disk_space": 1})
        (fake.volume / "world").write_bytes(b"x" * (MIB + 1))
        result = fake.perform(action)
        assert (result.outcome.value, result.code, fake.engine.calls) == ("refused", "disk_full", [])
        assert "uses 1 MiB of 1 MiB" in result.msg
        assert fake.live == (action == "restart")
        os.truncate(fake.volume / "world", MIB - fake.volume.stat().st_size)
        assert fake.perform(action).outcome.value == "done"

    def test_a_disk_that_fills_up_during_the_stop_fails_the_boot(self, fake: FakeNode) -> None:
        fake.engine.stop_seconds = 5.0
        fake.up()
        fake.define(build={"disk_space": 1})
        fake.clock.after(2, lambda: (fake.volume / "world").write_bytes(b"x" * (MIB + 1)))
        result = fake.perform("restart")
        assert (result.outcome.value, result.code, result.changed, result.state) == ("failed", "disk_full", True, "offline")


class TestImage:
    @pytest.mark.parametrize(
        "policy, image, pulled", [("missing", "game:1", False), ("missing", "game:2", True), ("always", "game:1", True)]
    )
    def test_the_image_is_pulled_as_the_settings_say(self, fake: FakeNode, policy: str, image: str, pulled: bool) -> None:
        fake.configure(docker={"pull": policy, "network": {"network_mode": "none"}})
        fake.define(container={"image": image})
        assert fake.perform("start").outcome.value == "done"
        assert (("pull", image) in fake.engine.calls) == pulled

    def test_the_image_is_pulled_before_the_stop(self, fake: FakeNode) -> None:
        fake.up()
        fake.define(container={"image": "game:2"})
        fake.perform("restart")
        assert fake.engine.changes() == ["pull", "create", "signal", "remove", "rename", "start"]

    def test_a_pull_alone_is_a_change(self, fake: FakeNode) -> None:
        fake.down()
        fake.define(container={"image": "game:2"})
        fake.engine.refuse("remove")
        result = fake.perform("start")
        assert (result.outcome.value, result.changed) == ("failed", True)


@pytest.mark.parametrize("fault", ["refuse", "silence"])
def test_a_taken_port_is_refused_even_if_the_engine_cannot_name_its_owner(fake: FakeNode, fault: str) -> None:
    fake.configure(docker={})
    fake.engine.local = True
    getattr(fake.engine, fault)("publisher")
    with socket.socket() as taken:
        taken.bind(("127.0.0.2", 0))
        taken.listen()
        fake.define(allocations={"mappings": {"127.0.0.2": [taken.getsockname()[1]]}})
        result = fake.perform("start")
    assert (result.outcome.value, result.code, fake.engine.calls) == ("refused", "preboot_failed", [])
    holder = f"process {os.getpid()} ({Path('/proc/self/comm').read_text().strip()})"
    assert f"is taken by {holder}; change settings.allocations, or stop {holder}" in result.msg


@pytest.mark.parametrize("live", [True, False])
def test_a_container_in_the_machines_network_may_hold_its_ports_until_its_stop(fake: FakeNode, live: bool) -> None:
    fake.configure(docker={})
    fake.engine.local = True
    fake.up(live=live, on_host_network=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.2", 0))
        taken.listen()
        fake.define(allocations={"mappings": {"127.0.0.2": [taken.getsockname()[1]]}})
        result = fake.perform("restart")
    assert (result.outcome.value, result.code) == (("done", "") if live else ("refused", "preboot_failed"))


class TestConfiguration:
    RULES = ({"file": "server.properties", "parser": "file", "replace": [{"match": "port=", "replace_with": "port=25565"}]},)

    def test_a_file_is_changed_once_and_left_alone_afterwards(self, fake: FakeNode) -> None:
        fake.down()
        (fake.volume / "server.properties").write_text("motd=hello\nport=1\n")
        fake.define(process={"configs": self.RULES})
        assert steps(fake.perform("start"))["configuration"]
        assert (fake.volume / "server.properties").read_text() == "motd=hello\nport=25565\n"
        fake.engine.end(UUID)
        assert not steps(fake.perform("start"))["configuration"]

    @pytest.mark.parametrize("errors, outcome", [("fail", "refused"), ("warn", "done")])
    def test_a_link_out_of_the_data_directory_is_refused_or_causes_a_warning(self, fake: FakeNode, errors: str, outcome: str) -> None:
        fake.down()
        (fake.root / "secret").write_text("port=1\n")
        (fake.volume / "server.properties").symlink_to(fake.root / "secret")
        fake.define(process={"configs": self.RULES})
        fake.configure(system={"config_errors": errors})
        assert fake.perform("start").outcome.value == outcome
        assert (fake.root / "secret").read_text() == "port=1\n"


def test_a_kill_between_two_steps_ends_the_boot_before_the_next_step(fake: FakeNode) -> None:
    fake.down()
    (fake.volume / "server.properties").write_text("port=1\n")
    fake.define(process={"configs": TestConfiguration.RULES}, environment={"MODE": "hard"})
    fake.engine.witness = lambda call: fake.kill_elsewhere() if call == "create" else None
    result = fake.perform("start")
    assert (result.outcome.value, result.code, result.changed) == ("cancelled", "cancelled_by_kill", False)
    assert fake.engine.changes() == ["create", "remove"], "the waiting container is removed"
    assert fake.engine.find(UUID) is not None
    assert (fake.volume / "server.properties").read_text() == "port=1\n"


ME = (os.geteuid(), os.getegid())


@pytest.mark.samples("a disk limit and ownership")
@pytest.mark.parametrize(
    "limit, ownership", [(100, False), (0, True), (100, True)], ids=["a disk limit", "ownership", "a disk limit and ownership"]
)
def test_directories_made_during_the_check_refuse_the_restart(fake: FakeNode, limit: int, ownership: bool) -> None:
    fake.up()
    fake.define(build={"disk_space": limit})
    fake.configure(system={"check_permissions_on_boot": ownership, "disk_check_timeout": 1})
    with made_ahead_of_the_walk(fake.volume):
        result = fake.perform("restart")
    assert (result.outcome.value, result.code, result.changed, fake.live) == ("refused", "disk_check_timeout", False, True)
    assert fake.engine.changes() == []
    assert f"its data directory {fake.volume} takes longer than 1 s to look through" in result.msg
    assert "system.disk_check_timeout and system.disk_check_entries raise the limits" in result.msg


@pytest.mark.parametrize("action, is_up", [("restart", True), ("start", False)])
def test_the_limit_of_files_refuses_one_file_more(fake: FakeNode, action: str, is_up: bool) -> None:
    if is_up:
        fake.up()
    else:
        fake.down()
    make_files(fake.volume, range(100), ME)
    fake.configure(system={"disk_check_entries": 99})
    result = fake.perform(action)
    assert (result.outcome.value, result.code, fake.live) == ("refused", "disk_check_timeout", is_up)
    assert "holds more than 99 files and directories" in result.msg
    fake.configure(system={"disk_check_entries": 100})
    assert fake.perform(action).outcome.value == "done"


def test_new_files_during_the_stop_cause_a_warning_and_the_server_starts(fake: FakeNode) -> None:
    fake.up()
    fake.configure(system={"disk_check_entries": 50})

    def fill(call: object) -> None:
        if call == "signal":
            make_files(fake.volume, range(100), ME)

    fake.engine.witness = fill
    result = fake.perform("restart")
    assert (result.outcome.value, result.code, fake.live) == ("done", "", True)
    assert [warning for warning in result.warnings if "holds more than 50 files and directories" in warning]


HOST = "registry.example.com"


@pytest.mark.parametrize(
    "name, reference",
    [
        (HOST, f"{HOST}/team/game:1"),
        (f"{HOST}/team", f"{HOST}/team/game"),
        (f"{HOST}/team/game", f"{HOST}/team/game@sha256:1"),
        (f"{HOST}:5000", f"{HOST}:5000/game"),
        ("game", "game:1"),
    ],
)
def test_a_registry_name_matches_the_beginning_of_a_reference_in_whole_parts(name: str, reference: str) -> None:
    assert credentials_for(reference, {name: {"username": "bot"}}) == {"username": "bot"}


@pytest.mark.parametrize(
    "name, reference",
    [
        (HOST, f"{HOST}.evil.net/game"),
        (HOST, f"evil.net/{HOST}/game"),
        (f"{HOST}:500", f"{HOST}:5000/game"),
        (f"{HOST}/team", f"{HOST}/teams/game"),
        ("", f"{HOST}/game"),
    ],
)
def test_a_registry_name_does_not_match_other_images(name: str, reference: str) -> None:
    assert credentials_for(reference, {name: {"username": "bot"}}) is None


def test_the_longest_registry_name_wins_regardless_of_order() -> None:
    registries = {"ghcr.io/acme/game": {"username": "game"}, "ghcr.io": {"username": "all"}, "ghcr.io/acme": {"username": "acme"}}
    for image, user in {"ghcr.io/acme/game:1": "game", "ghcr.io/acme/web": "acme", "ghcr.io/acmes/web": "all"}.items():
        assert credentials_for(image, registries) == {"username": user}
        assert credentials_for(image, dict(reversed(registries.items()))) == {"username": user}
