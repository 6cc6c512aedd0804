# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each source of the inventory: engines, also over ssh, and snapshots; and the picture that combines them."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible_collections.fleet.power.plugins.module_utils._fleet.inventory.engine import listed_over_ssh, read_engine, ssh_command
from ansible_collections.fleet.power.plugins.module_utils._fleet.inventory.entry import (
    Picture,
    ServerEntry,
    SourceKind,
    SourceReading,
    from_plain,
    picture_of,
    to_plain,
)
from ansible_collections.fleet.power.plugins.module_utils._fleet.inventory.options import NodeWanted
from ansible_collections.fleet.power.plugins.module_utils._fleet.inventory.reading import read_snapshot
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import (
    EngineError,
    EngineUnreachable,
    SettingsInvalid,
    SourceUnreachable,
)
from ansible_collections.fleet.power.tests.integration.panel_server import Answering, Asked, Recorder, status, text
from ansible_collections.fleet.power.tests.unit.inventory_support import Inventory

ONE, TWO, THREE = (f"{digit * 8}-0000-4000-8000-{digit * 12}" for digit in "123")
NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=timezone.utc)


def row(uuid: str, state: str = "running", **labels: str) -> dict[str, Any]:
    return {
        "Id": uuid,
        "Names": [f"/{uuid}"],
        "State": state,
        "Image": "games/java:17",
        "Labels": {"fleet.power.server": uuid, "fleet.power.spec": "x", **labels},
    }


class Engine(Recorder):
    rows: Any = ()

    def answer(self, asked: Asked, answering: Answering) -> None:
        if asked.path.endswith("/_ping"):
            answering.raw(200, b"OK", Api_Version="1.41")
        else:
            answering.json(200, self.rows)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with closing(Engine()) as server:
        yield server


#: Text that clears a terminal and forges a line.
HOSTILE = text(json.dumps({"message": "\x1b[2J\nnode-1: 0 servers" + "x" * 9000}).encode(), 500)


def node_at(engine: Engine) -> NodeWanted:
    return NodeWanted("node-1", docker_host=f"tcp://127.0.0.1:{engine.port}")


def test_containers_of_wings_are_servers_and_foreign_containers_are_not(engine: Engine) -> None:
    foreign = {"Names": ["/web"], "State": "running", "Labels": {}}
    claims = {**row(ONE), "Names": ["/web"]}
    unspecified = {**row(ONE), "Labels": {"fleet.power.server": ONE}}
    wings = {"Names": [f"/{TWO}"], "State": "running", "Labels": {"Service": "Pterodactyl", "ContainerType": "server_process"}}
    engine.rows = [foreign, claims, unspecified, wings, {"Names": None, "Labels": None}]
    assert read_engine(node_at(engine), 5).entries == (ServerEntry(TWO, "node-1", state="running", labels={}),)


@pytest.mark.parametrize("behaviour", [text(b"<html>"), text(b'{"a": 1}'), status(500), HOSTILE])
def test_a_failed_list_of_an_engine_is_an_error_of_one_sentence(engine: Engine, behaviour: Any) -> None:
    engine.fault(behaviour, of="/containers")
    with pytest.raises((EngineError, EngineUnreachable), match=r"^Cannot list the containers: ") as raised:
        read_engine(node_at(engine), 5)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1100


_SSH = """#!{python}
import sys, time
open({record!r}, "w").write(repr(sys.argv[1:]))
{body}
"""


class Ssh:
    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory, self.record = root / "bin", root / "arguments"
        self._directory.mkdir()
        monkeypatch.setenv("PATH", f"{self._directory}{os.pathsep}{os.environ['PATH']}")

    def does(self, body: str) -> None:
        path = self._directory / "ssh"
        path.write_text(_SSH.format(python=sys.executable, record=str(self.record), body=body))
        path.chmod(0o755)

    def answers(self, rows: Any, status: int = 200) -> None:
        body = json.dumps(rows)
        self.does(
            "import os\n"
            "asked = b''\n"
            "while b'\\r\\n\\r\\n' not in asked: asked += os.read(0, 65536)\n"
            f"os.write(1, b'HTTP/1.1 {status} X\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n')\n"
            f"sys.stdout.write({body!r})"
        )


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ssh:
    return Ssh(tmp_path, monkeypatch)


def test_an_engine_is_listed_over_ssh(ssh: Ssh) -> None:
    ssh.answers([row(ONE, role="lobby")])
    found = read_engine(NodeWanted("node-1", docker_host="ssh://root@10.0.0.11:2222", ssh_args=("-i", "key")), 5)
    assert found.entries == (ServerEntry(ONE, "node-1", state="running", labels={"role": "lobby"}, image="games/java:17"),)
    arguments = ssh.record.read_text()
    assert arguments.startswith(
        "['-i', 'key', '-T', '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=5', '-l', 'root', '-p', '2222', '--', '10.0.0.11'"
    )


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("sys.stderr.write('motd\\nroot@h: Permission denied (publickey).\\n'); sys.exit(255)", "Permission denied (publickey)"),
        ("sys.exit(255)", "cannot be reached"),
        ("print('Welcome to node-1!'); sys.stdout.flush(); sys.stdin.read()", "cannot be reached"),
        ("sys.stderr.write('x' * 10_000_000 + '\\n'); sys.exit(255)", "cannot be reached"),
        ("time.sleep(60)", "no answer within 1 s"),
        ("import os\nwhile True: os.write(2, b'x' * 1000)", "no answer within 1 s"),
        ("print('HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n-1\\r\\n', flush=True); time.sleep(60)", "cannot be reached"),
    ],
)
def test_a_fault_of_ssh_is_an_error_of_one_sentence_in_time(ssh: Ssh, body: str, sentence: str) -> None:
    ssh.does(body)
    began = time.monotonic()
    with pytest.raises(EngineUnreachable) as caught:
        # A long timeout, so that a busy machine still sees an end of ssh.
        listed_over_ssh("ssh://root@node-1", (), 1 if "1 s" in sentence else 20)
    assert sentence in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("head", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_a_truncated_answer_over_ssh_is_an_unreachable_engine(ssh: Ssh, head: str) -> None:
    ssh.does(f"sys.stdin.readline(); print('HTTP/1.1 200 OK\\r\\n{head}\\r\\n\\r\\n5\\r\\n[', end='', flush=True); sys.exit('gone')")
    with pytest.raises(EngineUnreachable, match="cannot be reached: gone"):
        listed_over_ssh("ssh://node-1", (), 5)


@pytest.mark.parametrize(
    "address",
    [
        "ssh://-oProxyCommand=x",
        "ssh://a b",
        "ssh://root:pw@host",
        "ssh://host/path",
        "ssh://host:x",
        "ssh://h;id",
    ],
)
def test_an_address_cannot_inject_an_argument_of_ssh(address: str) -> None:
    with pytest.raises(SettingsInvalid, match="Cannot use docker_host=") as caught:
        ssh_command(address, (), 5)
    assert "pw" not in str(caught.value)


def snapshot(tmp_path: Path, **changes: Any) -> Path:
    entry = {"server": ONE, "name": "lobby-1", "state": "running", "suspended": False, "egg": None, "labels": {"role": "x"}, "priority": 5}
    node = {
        "node": "node-1",
        "connection": {"ansible_host": "10.0.0.11", "ansible_user": "ops", "x": "y"},
        "error": None,
        "servers": [entry],
    }
    gone = {"node": "node-2", "connection": {}, "error": "Failed to connect", "servers": []}
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps({"schema": 1, "written_at": "2026-11-25T11:59:30Z", "nodes": [node, gone], **changes}))
    return path


def test_a_snapshot_gives_servers_connections_and_unread_nodes(tmp_path: Path) -> None:
    found = read_snapshot(str(snapshot(tmp_path)), 3600, NOW)
    labels = {"role": "x"}
    assert found.entries == (ServerEntry(ONE, "node-1", "lobby-1", "running", suspended=False, labels=labels, priority=5),)
    assert found.connections["node-1"] == {"ansible_host": "10.0.0.11", "ansible_user": "ops"}
    assert list(found.missing) == ["node-2"] and "Failed to connect" in found.missing["node-2"]
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[]", "it is not a JSON object"),
        ("[" * 100_000, "it is not a JSON object"),
        ("\udcff", "it is not a JSON object"),
        ("{}", "does not say which version"),
        ('{"schema": 2, "nodes": []}', "of version 2, written by a newer fleet.power"),
        ('{"schema": 1}', "no list of nodes"),
        ('{"schema": 1, "nodes": [1]}', "no list of nodes"),
    ],
)
def test_an_invalid_snapshot_is_an_error_of_one_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "fleet.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(SourceUnreachable, match=f"^Cannot read the snapshot .*{sentence}"):
        read_snapshot(str(path), 0, NOW)


def test_a_missing_snapshot_or_a_pipe_is_an_error_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, sentence in {"pipe": "not a regular file", "none": "No such file", ".": ""}.items():
        with pytest.raises(SourceUnreachable, match=sentence):
            read_snapshot(str(tmp_path / name), 0, NOW)


UNSEEN = {"server": TWO, "short_id": TWO[:8], "name": "dune", "state": None, "code": "engine_error", "msg": "HTTP 500"}


def test_hosts_with_an_unknown_state_are_in_the_group_power_unknown_only(tmp_path: Path) -> None:
    servers = [UNSEEN, {"server": ONE, "name": "lobby", "state": "offline"}]
    snapshot(tmp_path, nodes=[{"node": "node-1", "complete": False, "msg": "Cannot ask the Panel: HTTP 500", "servers": servers}])
    found = Inventory(tmp_path).read(snapshot="fleet.json", snapshot_max_age=0)
    assert (found.group("power_unknown"), found.group("state_offline")) == (["dune"], ["lobby"])
    assert [found.group(f"state_{state}") for state in ("running", "starting", "stopping")] == [[], [], []]
    assert found.unread == ["node-1"]
    (warning,) = found.warnings
    assert warning.startswith("fleet.power.servers: node-1 may have servers that are not in the inventory: Cannot tell all servers of node")
    with pytest.raises(AnsibleError, match=r"Cannot tell all servers of node node-1: .* Cannot ask the Panel: HTTP 500"):
        Inventory(tmp_path).read(snapshot="fleet.json", snapshot_max_age=0, unreachable="fail")


def picture(*readings: SourceReading) -> Picture:
    return picture_of(readings, lambda _kind, name: name)


def reading_of(kind: SourceKind, node: str, *entries: ServerEntry) -> SourceReading:
    looked = kind in (SourceKind.ENGINE, SourceKind.ENDPOINT)
    return SourceReading(kind, node if looked else None, entries)


@pytest.mark.parametrize("state, expected", [("running", None), ("exited", "offline")])
def test_a_server_that_may_run_under_another_name_is_not_reported_as_offline(engine: Engine, state: str, expected: str | None) -> None:
    engine.rows = [{**row(ONE, state), "Names": ["/renamed"]}, {**row(TWO), "Names": ["/stranger"]}, row(TWO, "exited")]
    now = read_engine(node_at(engine), 5)
    old = reading_of(
        SourceKind.SNAPSHOT, "node-1", ServerEntry(ONE, "node-1", "lobby", "running"), ServerEntry(THREE, "node-1", "dune", "running")
    )
    entries = {entry.uuid: entry.state for entry in picture(old, now).entries}
    assert entries == {ONE: expected, TWO: "offline", THREE: "offline"}
    assert [each.doubtful for each in from_plain(json.loads(json.dumps(to_plain([now]))))] == [now.doubtful]


def test_a_server_on_two_nodes_belongs_to_the_node_where_it_runs() -> None:
    down, up = (
        reading_of(SourceKind.ENGINE, node, ServerEntry(ONE, node, state=state)) for node, state in (("a", "offline"), ("b", "running"))
    )
    for readings in ((down, up), (up, down)):
        found = picture(*readings)
        assert [entry.node for entry in found.entries] == ["b"]
        assert "has a container on node a too" in found.warnings[0]


def test_the_cache_returns_the_stored_readings() -> None:
    readings = [
        SourceReading(
            SourceKind.PANEL,
            None,
            (ServerEntry(ONE, "a", "x", suspended=False, panel_id=0), ServerEntry(TWO, labels={})),
            {},
            {"a": "h"},
            {"n": "why"},
            ("w",),
        ),
        reading_of(SourceKind.ENGINE, "a", ServerEntry(THREE, "a", state="running", labels={"k": "v"})),
    ]
    again = from_plain(json.loads(json.dumps(to_plain(readings))))
    assert again[1] == readings[1]
    assert again[0].entries[0] == readings[0].entries[0] and again[0].warnings == ("w",)


@pytest.mark.parametrize("odd", [{"uuid": 5}, {"uuid": "../x"}, {"uuid": ONE, "x": 1}, {"uuid": ONE, "labels": "x"}, 5])
def test_a_modified_cache_is_refused(odd: Any) -> None:
    with pytest.raises(ValueError, match=r"a server|not what the inventory wrote|'x'"):
        from_plain([{"kind": "engine", "entries": [odd]}])
