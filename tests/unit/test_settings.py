# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings: our file overrides Wings' file and the defaults. An error names each wrong type, and no message shows a secret."""

from __future__ import annotations

import dataclasses
import errno
import os
import pwd
import re
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions import settings as settings_module
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import (
    KEYS,
    Settings,
    field_of,
    load_settings,
    parse_settings,
    read_settings,
)
from ansible_collections.fleet.power.plugins.module_utils._power.host.machine import node_timezone
from ansible_collections.fleet.power.plugins.module_utils._power.model import schema
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import SettingsInvalid
from hypothesis import given, settings
from hypothesis import strategies as st

#: A file as Wings writes it, with all defaults and with keys that only Wings uses.
WINGS_FILE = """\
debug: false
app_name: Pterodactyl
uuid: 7e1c5a44-7a53-4a53-8a53-3c7f0c1d2e3f
token_id: aB3dE6gH9jK2mN5p
token: s3cretTokenOfTheNode
api: {host: 0.0.0.0, port: 8080, ssl: {enabled: false, cert: '', key: ''}, upload_limit: 100}
system:
  root_directory: /var/lib/pterodactyl
  data: /var/lib/pterodactyl/volumes
  username: pterodactyl
  timezone: Europe/Berlin
  user: {rootless: {enabled: false, container_uid: 0, container_gid: 0}, uid: 1001, gid: 1002}
  sftp: {bind_address: 0.0.0.0, bind_port: 2022}
  brand_new_key: 1
docker:
  network:
    interface: 172.20.0.1
    dns: [9.9.9.9]
    name: pterodactyl_nw
    network_mode: pterodactyl_nw
    interfaces: {v4: {subnet: 172.20.0.0/16, gateway: 172.20.0.1}, v6: {subnet: 'fdba:17c8:6c94::/64', gateway: 'fdba:17c8:6c94::1011'}}
  registries: {ghcr.io/acme: {username: bot, password: hunter22}}
  overhead: {override: true, default_multiplier: 1.2, multipliers: {2048: 1.5, 512: 2}}
  log_config: {type: local, config: {compress: 'false', max-file: '1', max-size: 5m, mode: non-blocking}}
throttles: {enabled: true, lines: 2000, line_reset_interval: 100}
remote: https://panel.example.test
allowed_mounts: [/srv/fleet]
allowed_origins: []
"""


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings_module, "DEFAULT_PATH", str(tmp_path / "absent" / "config.yml"))


def parse(raw: object) -> Settings:
    return parse_settings(raw, where="config.yml")


def with_value(key: str, value: object) -> dict[str, Any]:
    raw: dict[str, Any] = {}
    *path, last = key.split(".")
    node = raw
    for name in path:
        node = node.setdefault(name, {})
    node[last] = value
    return raw


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


class TestTable:
    def test_used_keys_and_fields_correspond(self) -> None:
        assert {field_of(key) for key in KEYS if key.used} | {"warnings"} == {field.name for field in dataclasses.fields(Settings)}

    @pytest.mark.parametrize(
        ("key", "default"),
        [
            ("system.definitions", "/etc/fleet-power/servers"),
            ("system.data", "/var/lib/fleet-power/volumes"),
            ("system.stop_timeout", 600),
            ("docker.pull", "missing"),
            ("docker.nofile", None),
            ("remote_query.allow_stale", False),
            ("system.config_errors", "fail"),
            ("docker.container_pid_limit", 512),
        ],
    )
    def test_the_table_has_the_documented_defaults(self, key: str, default: object) -> None:
        assert {entry.name: entry.default for entry in KEYS}[key] == default


class TestFile:
    def test_a_broken_link_at_the_default_path_is_an_error(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "config.yml").symlink_to(tmp_path / "gone")
        monkeypatch.setattr(settings_module, "DEFAULT_PATH", str(tmp_path / "config.yml"))
        with pytest.raises(SettingsInvalid, match="No such file"):
            load_settings(None)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (
                "system: [unclosed\n",
                "it is not YAML: line 2, column 1: a comma or a closing bracket is missing in the list that begins in line 1",
            ),
            ("a: !!python/object/apply:os.system ['true']\n", "line 1, column 4: a tag is not known here"),
            ("\x01", "it is not YAML: line 1, column 1: it holds a control character"),
            ("- a\n", "the top level is a list, expected a map"),
            ("5: a\n", "the top level has a key that is 5"),
            ("#" * (1024 * 1024 + 1), "larger than 1 MiB"),
        ],
        ids=range(6),
    )
    def test_an_invalid_file_is_refused_with_the_reason(self, tmp_path: Path, text: str, reason: str) -> None:
        path = write(tmp_path / "c.yml", text)
        with pytest.raises(SettingsInvalid, match=re.escape(reason)) as caught:
            load_settings(path)
        assert str(caught.value).startswith(f"Cannot read settings {path}: ")

    def test_a_file_that_the_user_may_not_read_leads_to_root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def denied(*_given: object) -> None:
            raise PermissionError(errno.EACCES, "denied")

        path = write(tmp_path / "c.yml", "{}")
        monkeypatch.setattr("builtins.open", denied)
        with pytest.raises(SettingsInvalid, match="Permission denied; act as root or as a member of the group of the file"):
            load_settings(path)

    def test_nested_aliases_are_refused_quickly(self, tmp_path: Path) -> None:
        levels = "".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12))
        path = write(tmp_path / "c.yml", f"a0: &a0 [x]\n{levels}allowed_mounts: *a11\n")
        with pytest.raises(SettingsInvalid, match=r"allowed_mounts\[0\] is a list"):
            load_settings(path)

    @pytest.mark.parametrize("opening", ["[", "{a: "])
    def test_a_deeply_nested_file_is_refused(self, tmp_path: Path, opening: str) -> None:
        path = write(tmp_path / "c.yml", opening * 100_000)
        code = (
            "import sys; from ansible_collections.fleet.power.plugins.module_utils._power.definitions import settings as s\n"
            "from ansible_collections.fleet.power.plugins.module_utils._power.model import errors\n"
            "try: s.load_settings(sys.argv[1])\n"
            "except errors.SettingsInvalid as error: print(error)"
        )
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert "Cannot read settings" in done.stdout


class TestValues:
    @pytest.mark.parametrize(
        ("key", "value", "shown", "expected"),
        [
            ("system.stop_timeout", "ten", '"ten" (text)', "a whole number of seconds from 0 to 604800"),
            ("system.stop_timeout", 10**4000, "a whole number", "a whole number of seconds from 0 to 604800"),
            ("system.data", "volumes", '"volumes" (text)', "a path that begins with /"),
            ("system.data", "/a\x00b", "NUL", ""),
            ("system.config_errors", "ignore", '"ignore" (text)', "fail or warn"),
            ("system.user.uid", -1, "-1 (a whole number)", "a whole number from 0 to 4294967294"),
            ("system.timezone", "Mars/Olympus", '"Mars/Olympus" (text)', "a time zone"),
            ("system.data", "/" + "a" * 256, '"/aaa', "at most 255 bytes between two slashes"),
            ("docker.network.interface", "eth0", '"eth0" (text)', "an IP address"),
            ("docker.overhead.multipliers", {2048: "a"}, '"a" (text)', "a number"),
            ("docker.registries", {"ghcr.io": "bot"}, "docker.registries.ghcr.io", "a map"),
            ("system", [1], "a list", "a map"),
            ("docker.log_config.config", {"max-file": 1}, "compresses a single file", "add compress: false"),
            ("docker.log_config.config", {"max-file": "01"}, "compresses a single file", "add compress: false"),
            ("docker.log_config.config", {"max-file": "x"}, "must have a max-file of 1 or more", ""),
            ("docker.log_config.config", {"compress": "T"}, "must have true or false", ""),
            ("docker.log_config", {"type": "json-file", "config": {"max-file": 3, "compress": True}}, ".config compresses", "or max-size"),
        ],
    )
    def test_the_error_names_key_value_and_expected_type(self, key: str, value: object, shown: str, expected: str) -> None:
        with pytest.raises(SettingsInvalid) as caught:
            parse(with_value(key, value))
        sentence = str(caught.value)
        assert sentence.startswith(f"Cannot read settings config.yml: {key}")
        assert shown in sentence
        assert expected in sentence

    @pytest.mark.parametrize("driver, config", [("local", {"max-file": 2}), ("json-file", {"max-file": 1})])
    def test_a_log_of_several_files_or_without_compression_is_allowed(self, driver: str, config: dict[str, object]) -> None:
        assert parse({"docker": {"log_config": {"type": driver, "config": config}}}).log_type == driver

    @pytest.mark.parametrize(
        "raw",
        [
            {"token": ["hunter22"]},
            {"token": {"hunter22": 1}},
            "token:hunter22",
            {"docker": {"registries": "hunter22"}},
            {"docker": {"log_config": {"config": "hunter22"}}},
            {"docker": {"registries": {"host=hunter22": 5}}},
            with_value("docker.registries", {"r": "hunter22"}),
        ],
    )
    def test_a_secret_of_the_wrong_type_is_not_shown(self, raw: object) -> None:
        with pytest.raises(SettingsInvalid) as caught:
            parse(raw)
        assert "hunter22" not in str(caught.value)
        assert "123456" not in str(caught.value)

    def test_a_warning_does_not_show_a_value_inside_an_unknown_key(self) -> None:
        assert parse({"token:hunter22": None, "docker": {"key=hunter22": 1}}).warnings == (
            "settings config.yml: unknown keys ignored: token:... (did you mean token?), docker.key=...",
        )

    @settings(max_examples=60)
    @given(
        st.sampled_from([key.name for key in KEYS]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=2),
            max_leaves=4,
        ),
    )
    def test_any_value_of_any_key_is_read_or_refused(self, key: str, value: object) -> None:
        if key == "wings_config":
            return
        try:
            parse(with_value(key, value))
        except SettingsInvalid as error:
            assert key in str(error)

    def test_the_repr_of_settings_shows_no_secret(self) -> None:
        found = parse(
            {
                "token": "hunter22",
                "endpoint": {"token": "hunter22"},
                "docker": {"registries": {"r": {"username": "u", "password": "hunter22"}}},
            }
        )
        assert found.token == "hunter22"
        assert found.registries["r"]["password"] == "hunter22"
        assert "hunter22" not in repr(found)


class TestEveryFault:
    def test_all_faults_are_found_at_once(self) -> None:
        receivers = [{"name": "a", "url": "https://a.test", "ulr": 1}, {"name": "a", "url_file": "/a"}, {"name": "b"}]
        raw = {
            "system": {"data": "relative", "stop_timeout": "soon"},
            "docker": {"pull": "often", "network": {"dns": [5]}},
            "supervisor": {"rules": [{"server": "a"}, {"supervise": True}]},
            "games": {
                "rules": [{"server": "a", "game": "chess"}, {"server": "b", "game": "go"}],
                "profiles": {"rts": {"announce": {"rcon": {"port": 1, "port_variable": "A", "command": "say {message}"}}}},
            },
            "events": {"receivers": receivers},
        }
        with pytest.raises(schema.Mismatch) as raised:
            read_settings(raw)
        assert sorted(fault.key for fault in raised.value.every) == sorted(
            [
                *("system.data", "system.stop_timeout", "docker.pull", "docker.network.dns[0]"),
                *("supervisor.rules[0]", "supervisor.rules[1]"),
                *("games.profiles.rts.announce.rcon", "games.profiles.rts.announce.rcon.password_variable"),
                *("events.receivers[0].ulr", "events.receivers[2]"),
            ]
        )
        raw["games"]["profiles"], raw["events"]["receivers"] = {}, receivers[:2]  # type: ignore[index]
        with pytest.raises(schema.Mismatch) as raised:
            read_settings(raw)
        found = {fault.key for fault in raised.value.every}
        assert {"games.rules[0].game", "games.rules[1].game", "events.receivers[1].name"} <= found


class TestWingsFile:
    def test_values_of_the_wings_file_count_where_our_file_has_none(self, tmp_path: Path) -> None:
        wings = write(tmp_path / "wings.yml", WINGS_FILE)
        found = load_settings(write(tmp_path / "ours.yml", f"wings_config: {wings}\ndocker: {{network: {{dns: [8.8.8.8]}}}}\n"))
        assert found.remote == "https://panel.example.test"
        assert (found.token_id, found.token) == ("aB3dE6gH9jK2mN5p", "s3cretTokenOfTheNode")
        assert found.data == "/var/lib/pterodactyl/volumes"
        assert (found.uid, found.gid) == (1001, 1002)
        assert found.timezone == "Europe/Berlin"
        assert found.allowed_mounts == ("/srv/fleet",)
        assert found.network_interface == "172.20.0.1"
        assert found.network_dns == ("8.8.8.8",)
        assert found.registries == {"ghcr.io/acme": {"username": "bot", "password": "hunter22"}}
        assert found.overhead_multipliers == ((512, 2.0), (2048, 1.5))
        assert found.definitions == "/etc/fleet-power/servers"

    def test_the_wings_file_must_exist_and_errors_name_the_file(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsInvalid, match=r"wings\.yml: No such file"):
            parse({"wings_config": str(tmp_path / "wings.yml")})
        with pytest.raises(SettingsInvalid, match=r"wings\.yml: docker\.tmpfs_size is"):
            parse({"wings_config": write(tmp_path / "wings.yml", "docker: {tmpfs_size: big}\n")})


Entry = namedtuple("Entry", ["pw_uid", "pw_gid"])


class TestOwner:
    def users(self, monkeypatch: pytest.MonkeyPatch, names: dict[str, Entry], uids: dict[int, Entry], euid: int) -> None:
        monkeypatch.setattr(pwd, "getpwnam", names.__getitem__)
        monkeypatch.setattr(pwd, "getpwuid", uids.__getitem__)
        monkeypatch.setattr(os, "geteuid", lambda: euid)
        monkeypatch.setattr(os, "getegid", lambda: euid + 1)

    @pytest.mark.parametrize(
        ("system", "euid", "owner"),
        [
            ({}, 0, (500, 501)),
            ({}, 1000, (500, 501)),
            ({"username": "nobody-here"}, 0, (988, 988)),
            ({"username": "nobody-here"}, 1000, (1000, 1001)),
            ({"user": {"uid": 7, "gid": 8}}, 0, (7, 8)),
            ({"user": {"uid": 0, "gid": 0}}, 1000, (0, 0)),
            ({"user": {"uid": 7}}, 0, (7, 7)),
            ({"user": {"uid": 500}}, 0, (500, 501)),
            ({"user": {"gid": 8}}, 0, (500, 8)),
            ({"user": {"rootless": {"enabled": True}}}, 1000, (1000, 1001)),
        ],
    )
    def test_system_sets_owner(self, monkeypatch: pytest.MonkeyPatch, system: dict[str, Any], euid: int, owner: tuple[int, int]) -> None:
        entry = Entry(500, 501)
        self.users(monkeypatch, {"pterodactyl": entry}, {500: entry}, euid)
        found = parse({"system": system})
        assert (found.uid, found.gid) == owner


class TestTimezone:
    def node(
        self, root: Path, *, file: str | None = None, link: str | None = None, zones: tuple[str, ...] = ("Europe/Berlin", "Asia/Tokyo")
    ) -> str:
        (root / "etc").mkdir()
        for zone in zones:
            path = root / "usr/share/zoneinfo" / zone
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        if file is not None:
            (root / "etc/timezone").write_text(file)
        if link is not None:
            (root / "etc/localtime").symlink_to(link)
        return str(root)

    @pytest.mark.parametrize(
        ("file", "link", "variable", "zone"),
        [
            ("Europe/Berlin\n", "/usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo", "Europe/Berlin"),
            (None, "../usr/share/zoneinfo/Asia/Tokyo", "Europe/Berlin", "Asia/Tokyo"),
            (None, None, ":Europe/Berlin", "Europe/Berlin"),
            (None, None, "/etc/localtime", "UTC"),
            ("Mars/Olympus", "/etc/elsewhere", "Europe", "UTC"),
            ("Europe/Berlin\n\xff", None, "", "UTC"),
            (None, None, "", "UTC"),
        ],
    )
    def test_the_time_zone_is_that_of_the_node_before_that_of_the_caller(
        self, tmp_path: Path, file: str | None, link: str | None, variable: str, zone: str
    ) -> None:
        root = self.node(tmp_path, file=file, link=link)
        assert node_timezone({"TZ": variable}, root) == zone
