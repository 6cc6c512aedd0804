# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers as hosts: the results of the inventory plugin, also in Ansible's own commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ansible.template import trust_as_template
from ansible_collections.fleet.power.plugins.module_utils._fleet.inventory import panel as panel_source
from ansible_collections.fleet.power.tests.integration.controller import COLLECTIONS
from ansible_collections.fleet.power.tests.integration.panel_server import (
    Answering,
    Asked,
    Behaviour,
    Recorder,
    dripping,
    endless,
    redirect,
    silent,
    status,
    text,
    truncated,
    value,
)
from ansible_collections.fleet.power.tests.unit.docs_support import GUIDES, examples
from ansible_collections.fleet.power.tests.unit.inventory_panel import EGG, KEY, ApplicationPanel, panel_server
from ansible_collections.fleet.power.tests.unit.inventory_support import Inventory

TOKEN = "wings-token-0123456789"
HOSTILE = "{{ lookup('pipe', 'touch owned') }}"
LOBBY = panel_server("lobby-1", 1)


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    return Inventory(tmp_path)


@pytest.fixture
def panel(monkeypatch: pytest.MonkeyPatch) -> Iterator[ApplicationPanel]:
    monkeypatch.setattr(panel_source, "_PAUSE", 0.01)
    with closing(ApplicationPanel(LOBBY)) as server:
        yield server


def options(panel: ApplicationPanel, **more: Any) -> dict[str, Any]:
    return {"panel_url": panel.url, "panel_api_key": KEY, "timeout": 5, **more}


def test_a_server_of_the_panel_has_typed_variables(inventory: Inventory, panel: ApplicationPanel) -> None:
    assert inventory.read(**options(panel)).variables("lobby-1") | {"inventory_file": 0, "inventory_dir": 0} == {
        "inventory_file": 0,
        "inventory_dir": 0,
        "ansible_host": "node-1.example.org",
        "server_uuid": LOBBY["uuid"],
        "server_short_id": LOBBY["uuid"][:8],
        "server_name": "lobby-1",
        "server_node": "node-1",
        "server_state": None,
        "server_suspended": False,
        "server_outdated": None,
        "server_egg": EGG,
        "server_egg_name": "Paper",
        "server_labels": {},
        "server_image": "games/java:17",
        "server_priority": None,
        "server_panel_id": 1,
        "server_panel_status": None,
    }


def test_servers_of_the_panel_are_grouped_by_node_egg_and_suspension_not_state(inventory: Inventory, panel: ApplicationPanel) -> None:
    panel.servers = [panel_server("a", 1), panel_server("b", 2, node=2, suspended=True), panel_server("c", 3, node=2)]
    found = inventory.read(**options(panel))
    assert found.group("node_node_1") == ["a"]
    assert found.group("node_Frankfurt_2") == ["b", "c"]
    assert found.group("suspended") == ["b"]
    assert found.group("egg_Paper") == found.group(f"egg_{EGG.replace('-', '_')}") == ["a", "b", "c"]
    assert [name for name in found.data.groups if name.startswith("state_")] == []


FAULTS: dict[str, tuple[Behaviour, str]] = {
    "refused": (status(403, "AccessDeniedHttpException", "This action is unauthorized."), "it refuses panel_api_key (HTTP 403, "),
    "missing": (status(404), "this path does not exist there"),
    "no json": (text(b"<html>"), "its answer is not a list in JSON"),
    "no list": (value({"data": {}}), "its answer is not a list in JSON"),
    "no objects": (value({"data": [1], "meta": {"pagination": {"total_pages": 1}}}), "no list of objects with attributes"),
    "no count": (value({"data": []}), "does not say how many pages"),
    "too many": (value({"data": [], "meta": {"pagination": {"total_pages": 10**9}}}), "more than 1000"),
    "wrong count": (value({"data": [], "meta": {"pagination": {"total_pages": True}}}), "does not say how many pages"),
    "truncated": (truncated, "(3 tries)"),
    "error": (status(500), "it answers HTTP 500, An unexpected error was encountered (3 tries)"),
    "nested": (text(b"[" * 100_000), "its answer is not a list in JSON"),
    "endless": (endless, "larger than"),
    "redirect": (redirect("https://elsewhere.example.org/"), "redirects to another address"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_panel_is_one_sentence_without_the_key(inventory: Inventory, panel: ApplicationPanel, name: str) -> None:
    behaviour, expected = FAULTS[name]
    panel.fault(behaviour, of="/servers")
    sentence = inventory.fault(**options(panel))
    assert sentence.startswith(f"Cannot ask the Panel at {panel.url} for ")
    assert expected in sentence
    assert KEY not in sentence and "\n" not in sentence and "Traceback" not in sentence


@pytest.mark.parametrize("behaviour", [silent, dripping])
def test_an_endless_answer_of_the_panel_ends_at_the_timeout(inventory: Inventory, panel: ApplicationPanel, behaviour: Behaviour) -> None:
    panel.fault(behaviour, of="/servers")
    assert "within 1 s (3 tries)" in inventory.fault(**options(panel, timeout=1))


def test_the_key_never_follows_a_redirect(inventory: Inventory, panel: ApplicationPanel) -> None:
    with closing(Recorder()) as elsewhere:
        panel.fault(redirect(f"{elsewhere.url}/api/application/servers"))
        inventory.fault(**options(panel))
        assert elsewhere.asked == []


@pytest.mark.parametrize("name", ["-rf", "a,b", "x" * 64, "all", "nodes", HOSTILE, "\x1b[2J"])
def test_an_unsafe_name_does_not_name_a_host(inventory: Inventory, panel: ApplicationPanel, name: str) -> None:
    panel.servers = [panel_server(name)]
    assert inventory.read(**options(panel)).hosts == [panel.servers[0]["uuid"][:8]]


def test_a_server_cannot_take_the_name_of_another_server(inventory: Inventory, panel: ApplicationPanel) -> None:
    victim = panel_server("My Server", 1)
    panel.servers = [victim, panel_server(victim["uuid"][:8], 2), panel_server(victim["uuid"], 3)]
    found = inventory.read(**options(panel))
    assert found.variables(victim["uuid"][:8])["server_uuid"] == victim["uuid"]
    assert len(found.hosts) == 3


def test_a_server_never_takes_the_name_of_a_host_a_node_or_a_group(inventory: Inventory, panel: ApplicationPanel) -> None:
    panel.servers = [panel_server(name, number) for number, name in enumerate(("web", "node-9", "node_node_1", "suspended", "prod"), 1)]
    found = inventory.read({"web": {"groups": ["prod"]}}, **options(panel, nodes={"node-9": {}}))
    assert found.hosts == sorted(server["uuid"][:8] for server in panel.servers)
    assert "server_uuid" not in found.variables("web")


def test_data_from_outside_is_never_evaluated_as_a_template(inventory: Inventory, panel: ApplicationPanel, tmp_path: Path) -> None:
    panel.servers = [panel_server(HOSTILE, status=HOSTILE, container={"image": HOSTILE})]
    panel.nodes = [{"id": 1, "name": HOSTILE, "fqdn": HOSTILE}]
    panel.eggs = [{"id": 7, "uuid": HOSTILE, "name": HOSTILE}]
    found = inventory.read(**options(panel))
    (host,) = found.hosts
    for name in ("name", "panel_status", "image", "node", "egg", "egg_name"):
        assert found.seen(host, f"server_{name}") == HOSTILE
    assert found.seen(host, "ansible_host") == "node-unknown.invalid"
    assert not (tmp_path / "owned").exists() and not Path("owned").exists()


def test_a_server_cannot_join_the_group_of_nodes(inventory: Inventory, panel: ApplicationPanel) -> None:
    panel.servers = [panel_server("nodes")]
    found = inventory.read({"node-1": {"groups": ["nodes"]}}, **options(panel))
    assert found.group("nodes") == ["node-1"]


def test_a_server_takes_the_connection_variables_of_its_node(inventory: Inventory, panel: ApplicationPanel) -> None:
    (inventory.root / "group_vars").mkdir()
    (inventory.root / "group_vars" / "nodes.yml").write_text("ansible_user: ops\nother: 1\nansible_port: 2222\n")
    (inventory.root / "host_vars").mkdir()
    (inventory.root / "host_vars" / "node-1.yml").write_text("ansible_port: 2223\n")
    earlier = {"node-1": {"groups": ["nodes"], "ansible_host": "10.0.0.11"}}
    found = inventory.read(earlier, **options(panel, nodes={"node-1": {"vars": {"ansible_become": True}}})).variables("lobby-1")
    assert [found.get(f"ansible_{name}") for name in ("host", "user", "port", "become")] == ["10.0.0.11", "ops", 2223, True]
    assert "other" not in found


def test_a_server_on_an_unknown_node_has_no_reachable_address(inventory: Inventory, panel: ApplicationPanel) -> None:
    panel.servers = [panel_server("lobby-1", node=None)]
    assert inventory.read(**options(panel)).variables("lobby-1")["ansible_host"] == "node-unknown.invalid"


@pytest.mark.parametrize(
    "name",
    ["-oProxyCommand=touch owned", "-l", "root@elsewhere", "ssh://elsewhere", "a b", "a;b", "a" * 254],
)
@pytest.mark.parametrize("field", ["fqdn", "name"])
def test_the_name_of_a_node_is_an_address_only_in_a_valid_form(
    inventory: Inventory, panel: ApplicationPanel, name: str, field: str
) -> None:
    panel.nodes = [{"id": 1, "name": "Frankfurt 1", "fqdn": "", field: name}]
    variables = inventory.read(**options(panel)).variables("lobby-1")
    assert variables["ansible_host"] == "node-unknown.invalid"
    assert {key for key in variables if key.startswith("ansible_")} == {"ansible_host"}


def test_the_name_of_a_node_cannot_inject_code_into_the_template_of_its_variables(inventory: Inventory, panel: ApplicationPanel) -> None:
    name = f"x'] + {HOSTILE[3:-3]} + ['x"
    panel.nodes = [{"id": 1, "name": name}]
    found = inventory.read({name: {"ansible_user": trust_as_template("{{ 'o' + 'ps' }}")}}, **options(panel))
    assert found.seen("lobby-1", "ansible_user") == "ops"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "the file names no source"),
        ({"node": {"n": {"url": "http://x", "token": "t"}}}, "there is no node (did you mean nodes?)"),
        ({"nodes": {"n": {"docker_host": "10.0.0.1"}}}, "Cannot use nodes.n.docker_host='10.0.0.1': expected an address"),
        ({"nodes": {"n": {"docker_host": "unix:///x", "url": "http://x", "token": "t"}}}, "it has both docker_host and url"),
        ({"nodes": {"n": {"url": "http://x", "token": 5}}}, "Cannot use nodes.n.token: it is a whole number, expected text"),
        ({"nodes": {"{{ x }}": {}}}, "the name of a node is"),
        ({"panel_url": "http://x"}, "panel_api_key is not given"),
        ({"snapshot": "x", "timeout": 0}, "Cannot use timeout=0: expected a whole number of seconds from 1 to 600"),
        ({"snapshot": "x", "hostnames": ["nam"]}, 'Cannot use hostnames: it has "nam" (text), expected name, slug'),
        ({"snapshot": "{{ nothing }}"}, "Cannot use snapshot: its template cannot be evaluated"),
    ],
)
def test_the_error_of_a_wrong_option_is_one_sentence_with_its_name(inventory: Inventory, given: dict[str, Any], expected: str) -> None:
    inventory.write(**given)
    sentence = inventory.fault()
    assert expected in sentence and "\n" not in sentence


class Wings(Recorder):
    def answer(self, asked: Asked, answering: Answering) -> None:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            answering.json(403, {"error": "You are not authorized to access this endpoint."})
            return
        configuration = {"uuid": LOBBY["uuid"], "meta": {"name": "lobby-1"}, "labels": {"role": HOSTILE, "Service": "Pterodactyl"}}
        rest = {"egg": {"id": EGG}, "container": {"image": "games/java:17"}, "environment": {"SECRET": "hidden-password-1234"}}
        # Only our HTTP shim sends `outdated`.
        extra = {"configuration": {**configuration, **rest}, "outdated": {"is_outdated": True, "differs": ["image"]}}
        answering.json(200, [{"state": "starting", "is_suspended": True, **extra}])


@pytest.fixture
def wings() -> Iterator[Wings]:
    with closing(Wings()) as server:
        yield server


def test_an_unreachable_node_causes_a_warning_and_hides_no_other_node(inventory: Inventory, wings: Wings) -> None:
    wings_nodes = {"node-1": {"url": wings.url, "token": TOKEN}, "node-2": {"docker_host": "unix:///nowhere/docker.sock"}}
    found = inventory.read(nodes=wings_nodes)
    assert found.hosts == ["lobby-1"]
    assert found.unread == ["node-2"]
    assert len(found.warnings) == 1 and "node-2 is not in the inventory: Cannot" in found.warnings[0]


def test_an_unreachable_node_is_an_error_if_configured(inventory: Inventory, wings: Wings) -> None:
    nodes = {"node-1": {"url": wings.url, "token": TOKEN}, "node-2": {"url": wings.url, "token": "another-token-123"}}
    sentence = inventory.fault(nodes=nodes, unreachable="fail")
    assert "it refuses the token" in sentence and "another-token-123" not in sentence


def test_without_unreachable_nodes_the_list_of_unread_nodes_is_empty(inventory: Inventory, wings: Wings) -> None:
    found = inventory.read(nodes={"node-1": {"url": wings.url, "token": TOKEN}})
    assert found.unread == []


def cached(panel: ApplicationPanel, root: Path, **more: Any) -> dict[str, Any]:
    return options(panel, cache=True, cache_plugin="jsonfile", cache_connection=str(root / "cache"), **more)


def test_a_cached_inventory_sends_no_request(inventory: Inventory, panel: ApplicationPanel, tmp_path: Path) -> None:
    first = inventory.read(**cached(panel, tmp_path))
    asked = len(panel.asked)
    again = inventory.read()
    assert again.variables("lobby-1") == first.variables("lobby-1")
    assert len(panel.asked) == asked


def _cache_file(root: Path) -> Path:
    (path,) = (root / "cache").iterdir()
    return path


@pytest.mark.parametrize(
    "change", [{"schema": 99}, {"identity": "another"}, {"readings": [{"kind": "moon"}]}, {"readings": 5}, {"readings": None}]
)
def test_an_invalid_cache_is_replaced_by_new_requests(
    inventory: Inventory, panel: ApplicationPanel, tmp_path: Path, change: dict[str, Any]
) -> None:
    inventory.read(**cached(panel, tmp_path))
    path = _cache_file(tmp_path)
    text_of = path.read_text()
    whole = json.loads(text_of)
    inner = json.loads(whole["__payload__"]) if isinstance(whole.get("__payload__"), str) else whole
    inner |= change
    path.write_text(json.dumps({**whole, "__payload__": json.dumps(inner)} if inner is not whole else inner))
    asked = len(panel.asked)
    assert inventory.read().hosts == ["lobby-1"]
    assert len(panel.asked) > asked


def test_the_cache_holds_no_secret(inventory: Inventory, panel: ApplicationPanel, wings: Wings, tmp_path: Path) -> None:
    inventory.read(**cached(panel, tmp_path, nodes={"node-1": {"url": wings.url, "token": TOKEN}}))
    kept = _cache_file(tmp_path).read_text()
    assert LOBBY["uuid"] in kept
    assert not any(secret in kept for secret in (KEY, TOKEN, "hidden-password-1234"))


ONE, TWO, THREE = (f"{digit * 8}-0000-4000-8000-{digit * 12}" for digit in "123")
_SECONDS = 60


class Commands:
    """Ansible's commands over a node that is this machine, and a snapshot of its servers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "servers.fleet_power.yml"
        (root / "ansible.cfg").write_text(f"[defaults]\ncollections_path = {COLLECTIONS}\nnocows = true\n")
        node = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        (root / "hosts.json").write_text(json.dumps({"nodes": {"hosts": {"node-1": node}}}))

    def write(self, *servers: dict[str, Any], error: str | None = None, **options: Any) -> None:
        """Write a snapshot of one node's servers, and the inventory file with these options."""
        node = {"node": "node-1", "error": error, "servers": list(servers)}
        snapshot = {"schema": 1, "written_at": "2026-11-25T11:59:30Z", "nodes": [node]}
        (self.root / "fleet.json").write_text(json.dumps(snapshot))
        given = {"plugin": "fleet.power.servers", "snapshot": "fleet.json", "snapshot_max_age": 0, **options}
        self.file.write_text(json.dumps(given))

    def run(self, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "LANG": "C.UTF-8",
            "ANSIBLE_CONFIG": str(self.root / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "COLUMNS": "1000",
        }
        command = [str(Path(sys.executable).with_name(tool)), "-i", str(self.root / "hosts.json"), "-i", str(self.file), *arguments]
        return subprocess.run(command, env=environment, cwd=self.root, capture_output=True, text=True, timeout=_SECONDS, check=False)

    def hosts(self, pattern: str) -> list[str]:
        ran = self.run("ansible", pattern, "--list-hosts")
        assert ran.returncode == 0 and ran.stderr == "", ran.stderr
        return [line.strip() for line in ran.stdout.splitlines()[1:]]


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def server(uuid: str, name: str, state: str = "running", **more: Any) -> dict[str, Any]:
    return {"server": uuid, "name": name, "state": state, "suspended": False, **more}


def test_a_task_runs_on_the_node_of_a_server_and_its_name_is_not_evaluated(commands: Commands) -> None:
    hostile = "{{ lookup('ansible.builtin.pipe', 'touch owned') }}"
    commands.write(server(ONE, hostile, labels={"role": hostile}))
    shown = 'msg="{{ server_name }} | {{ server_labels.role }} | {{ ansible_connection }} | {{ server_state | type_debug }}"'
    ran = commands.run("ansible", ONE[:8], "-m", "ansible.builtin.debug", "-a", shown)
    assert f"{hostile} | {hostile} | local | str" in ran.stdout.replace("\\\\", "\\"), ran.stdout + ran.stderr
    assert list(commands.root.rglob("owned")) == []


@pytest.mark.parametrize(("error", "code"), [(None, 0), ("Failed to connect", 2)])
def test_a_play_of_the_guide_fails_if_a_node_is_unread(commands: Commands, error: str | None, code: int) -> None:
    (play,) = (each.text for each in examples(GUIDES / "inventory_guide.rst") if "fleet_power_unread" in each.text)
    (commands.root / "play.yml").write_text(play)
    commands.write(server(ONE, "lobby-1"), error=error)
    ran = commands.run("ansible-playbook", "play.yml")
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert ("node-1 is not in the inventory" in ran.stderr) is (code != 0)
