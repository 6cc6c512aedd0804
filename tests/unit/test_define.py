# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Definitions drafted from containers. The samples are answers of a real engine, without their empty values."""

from __future__ import annotations

import copy
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.fleet.power.plugins.module_utils._command.define import _take_over
from ansible_collections.fleet.power.plugins.module_utils._command.draft import Drafted, definition_of, to_yaml
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import (
    UNFILLED,
    Definition,
    parse_definition,
    refuse_unfilled,
)
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition_text import load_text
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import Settings, parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import DefinitionInvalid, NotDefinable
from hypothesis import given, settings
from hypothesis import strategies as st

SAMPLES = Path(__file__).parent / "fixtures" / "inspect"
NAMES = sorted(path.stem for path in SAMPLES.glob("*.json"))
VOLUMES = "/var/lib/fleet-power/volumes"


def node_settings(**sections: Any) -> Settings:
    network = {"network_mode": "bridge", "interface": "127.0.0.1"}
    raw = {"system": {"user": {"uid": 988, "gid": 988}, "timezone": "UTC"}, "docker": {"network": network}, **sections}
    return parse_settings(raw, where="config.yml")


def sample(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    found = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return found["container"], found["image"]


def plain(**config: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A container that a server can replace, with keys of its ``Config``."""
    base = {"Env": ["PATH=/bin"], "Entrypoint": ["/run"], "Labels": {"of": "image"}}
    container = {"Id": "ab" * 32, "Name": "/web", "Image": "sha256:1", "HostConfig": {"NetworkMode": "bridge"}}
    container["Config"] = {"Image": "registry.example.test/web:1", **base, **config}
    return container, {"Id": "sha256:1", "RepoTags": ["registry.example.test/web:1"], "RepoDigests": ["web@sha256:2"], "Config": base}


def read(drafted: Drafted) -> Definition:
    """The draft as the reader of definitions sees its YAML: without a fault or a warning."""
    text = to_yaml(drafted)
    raw = load_text(text.encode(), "x.yml", yaml=True)
    assert raw == yaml.load(text, yaml.SafeLoader) == drafted.definition, "also without libyaml, and by the rules of YAML 1.1"
    definition = parse_definition(raw, where="x.yml", expect_uuid=drafted.uuid)
    assert definition.warnings == ()
    return definition


def refusal(definition: Definition) -> str:
    """The keys that refuse a start by their placeholders."""
    try:
        refuse_unfilled(definition)
    except DefinitionInvalid as error:
        return str(error).partition(": ")[2].partition(" still has")[0]
    return ""


def comments(drafted: Drafted) -> str:
    return "\n".join(line.strip() for line in to_yaml(drafted).splitlines() if line.lstrip().startswith("#"))


@pytest.mark.parametrize("name", NAMES)
def test_each_sample_becomes_a_definition_that_a_start_can_read(name: str) -> None:
    container, image = sample(name)
    before = copy.deepcopy((container, image))
    drafted = definition_of(container, image, node_settings(allowed_mounts=["/srv", "/var/lib/docker/volumes"]))
    definition = read(drafted)
    assert (definition.server.name, definition.image) == (name, image["RepoTags"][0])
    assert (container, image) == before
    assert to_yaml(definition_of(container, image, node_settings(allowed_mounts=["/srv", "/var/lib/docker/volumes"]))) == to_yaml(drafted)


def test_a_web_application_keeps_its_limits_ports_mounts_and_variables() -> None:
    drafted = definition_of(*sample("web"), node_settings(allowed_mounts=["/srv", "/var/lib/docker/volumes"]))
    definition = read(drafted)
    assert dict(definition.environment) == {
        "APP_MODE": "production",
        "GREETING": 'a: #b "c"',
        "DB_PASSWORD": UNFILLED,
        "HTTP_PROXY": "x",
    }
    build = definition.build
    assert (build.memory_limit, build.swap, build.cpu_limit, build.threads) == (537, 537, 150, "0")
    ports = (18080, 18100, 18101, 18102)
    assert dict(definition.allocations.mappings) == {"0.0.0.0": ports, "::": ports, "127.0.0.1": (18081,)}
    assert [(mount.source, mount.target, mount.read_only) for mount in definition.mounts] == [
        ("/srv/world", "/data", False),
        ("/var/lib/docker/volumes/namedvol/_data", "/named", False),
    ]
    assert (definition.stop.type.value, definition.stop.value, definition.stop.timeout) == ("signal", "SIGQUIT", 30)
    assert dict(definition.labels) == {"team": "blue", "org.x": "a\nb"}
    assert definition.suspended and drafted.secrets == ["DB_PASSWORD"]
    assert [text.split(":")[0] for text in drafted.differing] == [
        "its own command",
        "CapAdd",
        "Ulimits",
        "the variable http_proxy as it was",
        "port 18081 of 127.0.0.1 to port 80/udp of the container",
    ]
    assert [text.partition(" (")[0] for text in drafted.lost[1:]] == ["the anonymous volume at /anon", "the anonymous volume at /anonymous"]
    for words in ("service front of the Compose project shop", "volume namedvol", "restart policy unless-stopped", "536870912 bytes"):
        assert words in comments(drafted)


def test_a_search_for_secrets_takes_no_long_time() -> None:
    texts = ("://" + ":" * 100_000, "://a:" + "b" * 100_000, "eyJ" * 40_000, "a1" * 50_000 + "-", "token" * 20_000)
    began = time.monotonic()
    for text in texts:
        definition_of(*plain(Env=[f"X={text}"]), node_settings())
    assert time.monotonic() - began < 10


def test_the_data_directory_in_its_place_is_not_copied() -> None:
    uuid = "566bf9d7-c55a-45f8-91a6-e55e9b9b1325"
    container, image = plain()
    container.update(Name=f"/{uuid}", Mounts=[{"Type": "bind", "Source": f"{VOLUMES}/{uuid}", "Destination": "/home/container"}])
    assert definition_of(container, image, node_settings()).steps == [f"install -d -m 700 -o 988 -g 988 {VOLUMES}/{uuid}"]


def test_the_guide_shows_the_printed_commands() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "docsite" / "rst" / "docker_run_guide.rst").read_text()
    shown = [line[5:] for line in guide.splitlines() if line.startswith("   # ")]
    drafted = definition_of(*plain(), node_settings())
    printed = _take_over(drafted, "x.yml", ()).splitlines()
    steps = [line.strip().replace(drafted.uuid, "UUID") for line in printed if line.startswith("  ")]
    assert [re.sub("[0-9a-f-]{36}", "UUID", line) for line in shown[-3:]] == steps


def test_the_mount_of_a_game_becomes_its_data_directory_by_a_copy() -> None:
    drafted = definition_of(*sample("game"), node_settings())
    definition = read(drafted)
    assert (definition.mounts, definition.suspended, drafted.differing) == ((), False, [])
    assert drafted.steps == [
        f"docker stop {drafted.uuid}",
        f"install -d -m 700 -o 988 -g 988 {VOLUMES}/{drafted.uuid} && cp -a /srv/world/. {VOLUMES}/{drafted.uuid}",
    ]
    assert "{type: command, value: stop}" in comments(drafted)


def test_options_without_a_key_suspend_the_server() -> None:
    found = {name: definition_of(*sample(name), node_settings()).differing for name in ("netty", "hostnet", "stopped", "shop-cache-1")}
    ports = found.pop("shop-cache-1")
    assert {name: [text.split(":")[0] for text in texts] for name, texts in found.items()} == {
        "netty": ["its own command", "Privileged", "Devices", "ExtraHosts", "SecurityOpt", "WorkingDir", "Tmpfs"],
        "hostnet": ["PidMode", "SecurityOpt", "NetworkMode"],
        "stopped": ["Init", "CpuShares", "the variable TZ as it was", "port 8100-8105 of 0.0.0.0 to port 7777/tcp of the container"],
    }
    assert ports == [
        f"port {port} of {address} to port {inner} of the container"
        for port, inner in (("8090", "80/tcp"), ("8000", "80/udp"))
        for address in ("0.0.0.0", "::")
    ]


@pytest.mark.parametrize(
    ("mount", "allowed", "differing"),
    [
        ({"Type": "bind", "Source": "/srv/a", "Destination": "/data"}, ["/srv"], ""),
        (
            {"Type": "bind", "Source": "/srv/a", "Destination": "/data"},
            [],
            "/srv/a is not mounted: it is outside the settings' allowed_mounts",
        ),
        ({"Type": "bind", "Source": "/srv/a", "Destination": "/dev/shm"}, ["/srv"], "the mount at /dev/shm"),
        ({"Type": "bind", "Source": "/srv/a", "Destination": "/tmp"}, ["/srv"], "the mount at /tmp"),
        ({"Type": "bind", "Source": "/srv/\ufffd", "Destination": "/data"}, ["/srv"], "values that are not UTF-8"),
        ({"Type": "volume", "Name": "far", "Source": "", "Destination": "/data"}, ["/srv"], "the mount at /data"),
        ({"Type": "tmpfs", "Destination": "/run"}, [], "the mount at /run"),
        ({"Type": "tmpfs", "Destination": "/tmp"}, [], ""),
        ({"Type": "bind", "Source": "/srv/a", "Destination": "/system"}, ["/srv"], ""),
        ({"Type": "bind", "Source": "/srv/a", "Destination": "/tmp/x"}, ["/srv"], ""),
        ({"Type": "bind", "Source": "/srv/a", "Destination": "/proc/x"}, ["/srv"], "the mount at /proc/x"),
        ({"Type": "volume", "Name": "a" * 64, "Source": "/x", "Destination": "/data"}, [], ""),
    ],
)
def test_a_mount_is_made_or_named(mount: dict[str, Any], allowed: list[str], differing: str) -> None:
    container, image = plain()
    drafted = definition_of({**container, "Mounts": [mount]}, image, node_settings(allowed_mounts=allowed))
    read(drafted)
    assert (differing in str(drafted.differing)) if differing else drafted.differing == []
    if "'mounts':" in str(drafted.definition):
        assert f"must have the right to use {mount['Source']}" in comments(drafted)


def test_a_port_of_the_loopback_names_its_new_address() -> None:
    container, image = plain()
    container["HostConfig"]["PortBindings"] = {"8081/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8081"}]}
    settings = node_settings(docker={"network": {"interface": "172.18.0.1"}})
    assert definition_of(container, image, settings).differing == ["port 8081 of 127.0.0.1: the node publishes it on 172.18.0.1"]


#: Values that end comments, begin keys, or are other values in YAML.
HOSTILE = [
    *("", " ", "#", "a #b", "a: b", "- a", "? a", "{a: 1}", "[1]", "*a", "&a", "!!python/object:x", "|", ">", "%TAG", "---", "...", "<<"),
    *(
        "yes",
        "No",
        "null",
        "~",
        "0123",
        "1.20",
        "12:30",
        "1e3",
        "=",
        '"',
        "'",
        "\\",
        "\\n",
        "a\nb: c",
        "\n# x",
        "\t",
        "\r",
        "\x1b[2J",
        "\x7f",
    ),
    *("\x85settings: x", "\u2028a: b", "\u2029", "\ufeff", "\xa0", "\u200b", "\U0001f600", "\uffff", "{{SERVER_PORT}}", "a" * 3000),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_survives_in_every_place(text: str) -> None:
    name = text.upper().replace("=", "") or "X"
    container, image = plain(Env=[f"{name}={text}"], Labels={f"x{text}": text}, User=text, Cmd=[text, text], Hostname=text)
    container["Mounts"] = [{"Type": "bind", "Source": f"/srv/x{text[:200]}", "Destination": f"/x{text[:200]}", "RW": False}]
    container["NetworkSettings"] = {"Networks": {f"n{text}": {"Aliases": [text]}}}
    container["HostConfig"] = {"NetworkMode": "x", "CapAdd": [text], "RestartPolicy": {"Name": text}, "CgroupParent": text}
    definition = read(definition_of(container, image, node_settings(allowed_mounts=["/srv"])))
    assert dict(definition.environment) == {name: text}
    assert dict(definition.labels) == {f"x{text}": text}
    assert (definition.mounts[0].source, definition.mounts[0].target) == (f"/srv/x{text[:200]}", f"/x{text[:200]}")


TEXT = st.text().map(lambda text: text.replace("\0", ""))


def test_a_value_that_no_definition_can_have_is_refused() -> None:
    with pytest.raises(DefinitionInvalid, match=r"definition of container web: settings.labels.x holds a NUL"):
        definition_of(*plain(Labels={"x": "\0"}), node_settings())


@settings(max_examples=60)
@given(st.dictionaries(TEXT, TEXT, max_size=5), TEXT, st.lists(TEXT, max_size=3))
def test_any_text_becomes_a_definition(texts: dict[str, str], text: str, words: list[str]) -> None:
    container, image = plain(
        Env=[f"{name}={value}" for name, value in texts.items()],
        Labels={f"x{name}": value for name, value in texts.items()},
        Cmd=words,
        StopTimeout=text,
    )
    container["Mounts"] = [{"Type": "bind", "Source": f"/{name}"[:90], "Destination": f"/{value}"[:90]} for name, value in texts.items()]
    container["NetworkSettings"] = {"Ports": {f"{text}/tcp": [{"HostIp": "::", "HostPort": text}]}}
    read(definition_of(container, image, node_settings(allowed_mounts=["/"])))


@pytest.mark.parametrize("given", [{"Env": ["X=caf\ufffd"]}, {"Labels": {"x": "caf\ufffd"}}])
def test_a_value_that_is_no_text_suspends_the_server(given: dict[str, Any]) -> None:
    drafted = definition_of(*plain(**given), node_settings())
    assert read(drafted).suspended and drafted.differing == ["values that are not UTF-8, here with \ufffd"]


def test_hidden_characters_are_escaped_and_others_stay_readable() -> None:
    assert "X: Größe" in to_yaml(definition_of(*plain(Env=["X=Größe"]), node_settings()))
    hidden = to_yaml(definition_of(*plain(Env=["X=a\u202eb\u200b"]), node_settings()))
    assert hidden.isascii() and "\\u202E" in hidden


def test_ten_thousand_variables_are_kept() -> None:
    variables = {f"V{number}": f"value {number}" for number in range(10_000)}
    drafted = definition_of(*plain(Env=[f"{name}={value}" for name, value in variables.items()]), node_settings())
    assert dict(read(drafted).environment) == variables


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("DB_PASSWORD", "hunter2", True),
        ("dbPassword", "hunter2", True),
        ("API_KEY", "hunter2", True),
        ("KEY", "hunter2", True),
        ("MYSQL_PWD", "hunter2", True),
        ("URL", "postgres://user:hunter2@db/x", True),
        ("HOOK", "https://discord.com/api/webhooks/1/abc", True),
        ("DSN_OF_IT", "Server=x;Password=y", True),
        ("PEM", "-----BEGIN PRIVATE KEY-----\nabc", True),
        ("X", "9f86d081884c7d659a2feaa0c55ad015", True),
        ("DB_PASSWORD_FILE", "/run/secrets/db", False),
        ("PASSWORD", "", False),
        ("ALLOW_EMPTY_PASSWORD", "yes", False),
        ("PWD", "/srv", False),
        ("PASSWORD_HASH", "$2b$10$abc", True),
        ("ADMIN_PASSWORD", "$hunter2", True),
        ("KEYBOARD", "de", False),
        ("URL", "https://example.test/a", False),
        ("SERVER_ID", "566bf9d7-c55a-45f8-91a6-e55e9b9b1325", False),
    ],
)
def test_secrets_become_placeholders(name: str, value: str, secret: bool) -> None:
    drafted = definition_of(*plain(Env=[f"{name}={value}"]), node_settings())
    definition = read(drafted)
    assert dict(definition.environment) == {name.upper(): UNFILLED if secret else value}
    assert drafted.secrets == ([name] if secret else [])
    assert refusal(definition) == (f"settings.environment.{name.upper()}" if secret else "")
    assert not secret or value not in to_yaml(drafted)


@pytest.mark.parametrize(
    ("command", "startup", "invocation"),
    [
        (["--port", "6379", "a b"], "", "--port 6379 'a b'"),
        ([], "./srcds  +rcon_password {{RCON_PASS}}", "./srcds  +rcon_password {{RCON_PASS}}"),
    ],
)
def test_the_command_or_the_variable_startup_becomes_the_invocation(command: list[str], startup: str, invocation: str) -> None:
    definition = read(definition_of(*plain(Cmd=command, Env=[f"STARTUP={startup}"] if startup else []), node_settings()))
    assert (definition.invocation, definition.suspended) == (invocation, bool(command))


@pytest.mark.parametrize(
    ("reference", "changes", "image", "comment"),
    [
        ("registry.example.test/web:1", {}, "registry.example.test/web:1", "digest web@sha256:2"),
        ("registry.example.test/web:1", {"RepoDigests": []}, "registry.example.test/web:1", "only on this node"),
        ("registry.example.test/web:1", {"RepoDigests": ["web@sha256:1"]}, "registry.example.test/web:1", "does not show if"),
        ("sha256:1", {"RepoTags": []}, "web@sha256:2", "digest web@sha256:2"),
        ("1", {}, "registry.example.test/web:1", "digest"),
        ("sha256:1", {"RepoTags": [], "RepoDigests": []}, "sha256:1", "only on this node"),
    ],
)
def test_the_image_is_named_by_tag_digest_or_id(reference: str, changes: dict[str, Any], image: str, comment: str) -> None:
    container, found = plain(Image=reference)
    drafted = definition_of(container, {**found, **changes}, node_settings())
    assert read(drafted).image == image
    assert comment in comments(drafted)
    assert ("does not show if" in comments(drafted)) == ("does not show if" in comment)
    assert read(drafted).image_is_local == ("only on this node" in comment)


def test_a_moved_tag_and_a_missing_image_suspend_the_server() -> None:
    container, image = plain()
    moved = definition_of(container, image, node_settings(), tag_moved=True)
    gone = definition_of(container, None, node_settings())
    assert read(moved).suspended and "means another one now" in str(moved.differing)
    assert read(gone).suspended and "its image, which is gone" in str(gone.differing)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Name": "/all"}, "rename the container first"),
        ({"Name": ""}, "rename the container first"),
        ({"Config": {"Labels": {"fleet.power.server": "x"}}}, "it is a server's container already"),
        ({"Config": {"Labels": {"Service": "Pterodactyl"}}}, "it belongs to Wings"),
    ],
)
def test_a_container_that_cannot_become_a_server_is_refused(changes: dict[str, Any], words: str) -> None:
    container, image = plain()
    with pytest.raises(NotDefinable, match=words):
        definition_of({**container, **changes}, image, node_settings())


def test_a_container_named_by_a_uuid_keeps_it() -> None:
    uuid = "566bf9d7-c55a-45f8-91a6-e55e9b9b1325"
    container, image = plain()
    drafted = definition_of({**container, "Name": f"/{uuid}"}, image, node_settings())
    assert (drafted.uuid, read(drafted).server.name) == (uuid, "")


def test_strange_answers_of_an_engine_are_no_fault() -> None:
    for value in (None, 5, "x", [], {}):
        container, image = plain(Env=value, Cmd=value, Entrypoint=value, Labels=value, User=value, WorkingDir=value)
        strange = dict.fromkeys(("Mounts", "NetworkSettings"), value)
        read(definition_of({**container, **strange}, {**image, "Config": value, "RepoTags": value}, node_settings()))
