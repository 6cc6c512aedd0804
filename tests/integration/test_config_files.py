# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration files of a running server: edits, checks before a stop, and no harm to the node."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .lab import SOON_SECONDS, Lab, ended

OWNER = (12345, 12346)
SECRET = "correct-horse-battery"
MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def owner(lab: Lab) -> None:
    """The owner of data, unknown to this machine."""
    lab.write_settings(system={"user": {"uid": OWNER[0], "gid": OWNER[1]}})


@dataclass(frozen=True)
class Format:
    """A file for one parser, before and after its rules."""

    name: str
    parser: str
    before: bytes
    rules: tuple[Mapping[str, Any], ...]
    after: bytes


PORT = {"replace_with": "{{server.build.default.port}}"}
FORMATS = (
    Format("server.properties", "properties", b"#x\r\nport=1\r\nb=2", ({"match": "port", **PORT},), b"#x\r\nport=25601\r\nb=2"),
    Format("game.ini", "ini", b"; x\n[Net]\nPort = 1 ; here\n", ({"match": "Net.Port", **PORT},), b"; x\n[Net]\nPort = 25601 ; here\n"),
    Format(
        "bot.json",
        "json",
        b'{"id": 1234567890123456789012, "port": 1}\n',
        ({"match": "port", **PORT},),
        b'{"id": 1234567890123456789012, "port": 25601}\n',
    ),
    Format("a.yml", "yml", b"# x\nport: 1   # here\n", ({"match": "port", **PORT},), b"# x\nport: 25601   # here\n"),
    Format("b.yaml", "yaml", b"- port: 1\n", ({"match": "[0].port", **PORT},), b"- port: 25601\n"),
    Format("proxy.toml", "toml", b"# x\n[net]\nport = 1\n", ({"match": "net.port", **PORT},), b"# x\n[net]\nport = 25601\n"),
    Format(
        "s.xml",
        "xml",
        b"<s>\n <port v='1'/><!--x-->\n</s>\n",
        ({"match": "s.port.@v", **PORT},),
        b"<s>\n <port v='25601'/><!--x-->\n</s>\n",
    ),
    Format("a.cfg", "file", b"// x\nport 1\n\xff\n", ({"match": "port", "replace_with": "port 25601"},), b"// x\nport 25601\n\xff\n"),
)


def config(file: str, parser: str, *rules: Mapping[str, Any]) -> dict[str, Any]:
    return {"file": file, "parser": parser, "replace": list(rules)}


def defined(lab: Lab, *configs: Mapping[str, Any], **more: Any) -> str:
    """A server with these configuration files in its definition, and an empty data directory."""
    uuid = lab.server(**{"RCON": SECRET, **more})
    lab.edit(uuid, allocations={"default": {"ip": "127.0.0.1", "port": 25601}}, process={"configs": list(configs)})
    directory = lab.volume(uuid)
    directory.mkdir(parents=True, exist_ok=True)
    os.chown(directory, *OWNER)
    return uuid


def start(lab: Lab, uuid: str) -> None:
    result = lab.power("start", uuid, wait_for="running")
    assert ended(result) == ("done", ""), result.msg


def refused_restart(lab: Lab, uuid: str) -> str:
    """The message of a refused restart: it came soon, the server still runs, and the message has no secret."""
    before = lab.container(uuid)
    result: Any = lab.power("restart", uuid)
    assert (*ended(result), result.changed, result.state.value) == ("refused", "preboot_failed", False, "running"), result.msg
    assert lab.container(uuid) == before
    # A hostile pattern takes ten seconds of a processor.
    assert result.seconds < 3 * SOON_SECONDS
    assert SECRET not in result.msg
    return str(result.msg)


def trace(file: Path) -> tuple[int, ...]:
    """A value that changes if a file is written, replaced or given to another owner."""
    status = file.lstat()
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_mode, status.st_uid, status.st_gid, status.st_size


def test_a_start_edits_a_file_of_each_format_and_a_restart_edits_no_file(lab: Lab) -> None:
    uuid = defined(lab, *(config(each.name, each.parser, *each.rules) for each in FORMATS))
    for each in FORMATS:
        (lab.volume(uuid) / each.name).write_bytes(each.before)
    start(lab, uuid)
    assert {each.name: (lab.volume(uuid) / each.name).read_bytes() for each in FORMATS} == {each.name: each.after for each in FORMATS}
    before = {each.name: trace(lab.volume(uuid) / each.name) for each in FORMATS}
    result: Any = lab.power("restart", uuid)
    assert ended(result) == ("done", "")
    assert [step.step for step in result.preboot if step.changed] == []
    assert {each.name: trace(lab.volume(uuid) / each.name) for each in FORMATS} == before


def writing_at_its_stop(lab: Lab, file: str, content: str, *configs: Mapping[str, Any]) -> str:
    script = f"trap 'printf \"{content}\" >{file}; exit 0' TERM; echo ready; while :; do sleep 9 & wait $!; done"
    image = lab.image(f"ENTRYPOINT {json.dumps(['/bin/sh', '-c', script])}")
    uuid = defined(lab, *configs, image=image, stop={"type": "signal", "value": "SIGTERM"})
    start(lab, uuid)
    return uuid


def test_a_file_that_a_server_breaks_during_its_stop_fails_the_restart(lab: Lab) -> None:
    uuid = writing_at_its_stop(lab, "bot.json", "[1", config("bot.json", "json", {"match": "port", **PORT}))
    file = lab.volume(uuid) / "bot.json"
    assert json.loads(file.read_text()) == {"port": 25601}
    result: Any = lab.power("restart", uuid)
    assert (*ended(result), result.changed, result.state.value) == ("failed", "preboot_failed", True, "offline")
    assert [step.step for step in result.preboot if step.failed] == ["configuration"]
    assert "bot.json" in result.msg
    assert file.read_text() == "[1"


def test_existing_files_keep_owner_and_mode_and_new_files_get_the_servers_owner(lab: Lab) -> None:
    lab.write_settings(system={"check_permissions_on_boot": False})
    rule = {"match": "port", **PORT}
    uuid = defined(lab, config("old.json", "json", rule), config("/plugins/deep/new.json", "json", rule))
    old, new = lab.volume(uuid) / "old.json", lab.volume(uuid) / "plugins" / "deep" / "new.json"
    old.write_text('{"port": 1}')
    old.chmod(0o640)
    os.chown(old, 4242, 4243)
    start(lab, uuid)
    assert (old.read_text(), json.loads(new.read_text())) == ('{"port": 25601}', {"port": 25601})
    assert [(*owner_of(path), stat.S_IMODE(path.stat().st_mode)) for path in (old, new, new.parent, new.parent.parent)] == [
        (4242, 4243, 0o640),
        (*OWNER, 0o644),
        (*OWNER, 0o755),
        (*OWNER, 0o755),
    ]


def owner_of(path: Path) -> tuple[int, int]:
    return path.lstat().st_uid, path.lstat().st_gid


def an_unknown_placeholder(file: Path, _canary: Path) -> tuple[str, str, Mapping[str, Any]]:
    file.write_text("port=1\n")
    return file.name, "properties", {"match": "port", "replace_with": "{{config.token}}{{env.RCON}}"}


def a_hostile_pattern(file: Path, _canary: Path) -> tuple[str, str, Mapping[str, Any]]:
    file.write_text("motd=" + "a" * 60 + "!\n")
    return file.name, "properties", {"match": "motd", "if_value": "regex:^(a+)+$", "replace_with": "{{env.RCON}}"}


def a_yaml_bomb(file: Path, _canary: Path) -> tuple[str, str, Mapping[str, Any]]:
    lines = ["a0: &a0 {x: 1}", *(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 20))]
    file.write_text("\n".join(lines) + "\n")
    return file.name, "yaml", {"match": "a19" + ".*" * 19 + ".x", "replace_with": "{{env.RCON}}"}


def a_link_to_somebody_elses_file(file: Path, canary: Path) -> tuple[str, str, Mapping[str, Any]]:
    file.symlink_to(canary)
    return file.name, "properties", {"match": "root", "replace_with": "{{env.RCON}}"}


def a_path_out(_file: Path, canary: Path) -> tuple[str, str, Mapping[str, Any]]:
    return f"../../{canary.name}", "properties", {"match": "root", "replace_with": "{{env.RCON}}"}


def a_huge_file(file: Path, _canary: Path) -> tuple[str, str, Mapping[str, Any]]:
    with file.open("wb") as content:
        content.truncate(1024 * 1024 * MIB)
    return file.name, "properties", {"match": "port", "replace_with": "{{env.RCON}}"}


Trap = Callable[[Path, Path], tuple[str, str, Mapping[str, Any]]]
#: The message names a bad rule; for a bad file, and for one beyond a limit, it names only the file.
RULES_AT_FAULT: tuple[Trap, ...] = (an_unknown_placeholder, a_yaml_bomb)
FILES_AT_FAULT: tuple[Trap, ...] = (
    a_hostile_pattern,
    a_link_to_somebody_elses_file,
    a_path_out,
    a_huge_file,
)


@pytest.mark.samples("a_hostile_pattern", "a_link_to_somebody_elses_file")
@pytest.mark.parametrize("trap", [*RULES_AT_FAULT, *FILES_AT_FAULT], ids=lambda trap: trap.__name__)
def test_a_bad_rule_or_file_refuses_a_restart_before_the_stop(lab: Lab, trap: Trap) -> None:
    canary = lab.root / "shadow"
    canary.write_text("root=$6$canary\n")
    uuid = defined(lab)
    start(lab, uuid)
    name, parser, rule = trap(lab.volume(uuid) / "trap.conf", canary)
    good = lab.volume(uuid) / "good.properties"
    good.write_text("port=1\n")
    lab.edit(uuid, process={"configs": [config("good.properties", "properties", {"match": "port", **PORT}), config(name, parser, rule)]})
    traces = trace(canary), trace(good)
    msg = refused_restart(lab, uuid)
    assert name in msg and "$6$" not in msg
    if trap in RULES_AT_FAULT:
        assert f'the rule for "{rule["match"]}"' in msg
    assert (trace(canary), trace(good)) == traces
