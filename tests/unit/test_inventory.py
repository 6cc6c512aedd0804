# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers as hosts: what the inventory plugin makes of its sources, and of everything that can be wrong with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.template import trust_as_template
from ansible_collections.fleet.power.plugins.module_utils._fleet.inventory import panel as panel_source
from ansible_collections.fleet.power.tests.integration.panel_server import (
    Answering,
    Asked,
    Behaviour,
    Recorder,
    closing,
    dripping,
    endless,
    redirect,
    silent,
    status,
    text,
    truncated,
    value,
)
from ansible_collections.fleet.power.tests.unit.inventory_panel import EGG, KEY, ApplicationPanel, many_servers, panel_server
from ansible_collections.fleet.power.tests.unit.inventory_support import Inventory, Parsed

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


# ----- the Panel


def test_every_page_of_the_panel_is_read_once(inventory: Inventory, panel: ApplicationPanel) -> None:
    panel.servers = many_servers(250)
    found = inventory.read(**options(panel))
    assert len(found.hosts) == 250
    assert [panel.count(rf"/servers\?page={page}&per_page=100$") for page in (1, 2, 3)] == [1, 1, 1]
    assert panel.count("/servers") == 3


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


def test_servers_are_grouped_by_node_egg_and_suspension_but_by_no_state(inventory: Inventory, panel: ApplicationPanel) -> None:
    panel.servers = [panel_server("a", 1), panel_server("b", 2, node=2, suspended=True), panel_server("c", 3, node=2)]
    found = inventory.read(**options(panel))
    assert found.group("node_node_1") == ["a"]
    assert found.group("node_Frankfurt_2") == ["b", "c"]
    assert found.group("suspended") == ["b"]
    assert found.group("egg_Paper") == found.group(f"egg_{EGG.replace('-', '_')}") == ["a", "b", "c"]
    assert [name for name in found.data.groups if name.startswith("state_")] == []


def test_a_group_that_a_pattern_excludes_is_there_with_nobody_in_it(inventory: Inventory, panel: ApplicationPanel) -> None:
    assert inventory.read(**options(panel)).group("suspended") == []


FAULTS: dict[str, tuple[Behaviour, str]] = {
    "refused": (status(403, "AccessDeniedHttpException", "This action is unauthorized."), "it refuses panel_api_key (HTTP 403, "),
    "missing": (status(404), "there is no such thing there"),
    "no json": (text(b"<html>"), "its answer is no list in JSON"),
    "no list": (value({"data": {}}), "its answer is no list in JSON"),
    "no objects": (value({"data": [1], "meta": {"pagination": {"total_pages": 1}}}), "no list of objects with attributes"),
    "no count": (value({"data": []}), "does not say how many pages"),
    "too many": (value({"data": [], "meta": {"pagination": {"total_pages": 10**9}}}), "more than 1000"),
    "wrong count": (value({"data": [], "meta": {"pagination": {"total_pages": True}}}), "does not say how many pages"),
    "truncated": (truncated, "(3 tries)"),
    "error": (status(500), "it answers HTTP 500, An unexpected error was encountered (3 tries)"),
    "nested": (text(b"[" * 100_000), "its answer is no list in JSON"),
    "endless": (endless, "larger than"),
    "redirect": (redirect("https://elsewhere.example.org/"), "redirects to another address"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_panel_is_one_sentence_without_the_key(inventory: Inventory, panel: ApplicationPanel, name: str) -> None:
    behaviour, said = FAULTS[name]
    panel.fault(behaviour, of="/servers")
    sentence = inventory.fault(**options(panel))
    assert sentence.startswith(f"Cannot ask the Panel at {panel.url} for ")
    assert said in sentence
    assert KEY not in sentence and "\n" not in sentence and "Traceback" not in sentence


@pytest.mark.parametrize("behaviour", [silent, dripping])
def test_a_panel_that_never_ends_its_answer_is_given_up(inventory: Inventory, panel: ApplicationPanel, behaviour: Behaviour) -> None:
    panel.fault(behaviour, of="/servers")
    assert "within 1 s (3 tries)" in inventory.fault(**options(panel, timeout=1))


def test_the_key_is_refused_in_a_sentence_that_does_not_repeat_it(inventory: Inventory, panel: ApplicationPanel) -> None:
    panel.fault(status(401, "X", f"who is {KEY}?"))
    assert KEY not in inventory.fault(**options(panel))


def test_the_key_never_follows_a_redirect(inventory: Inventory, panel: ApplicationPanel) -> None:
    with closing(Recorder()) as elsewhere:
        panel.fault(redirect(f"{elsewhere.url}/api/application/servers"))
        inventory.fault(**options(panel))
        assert elsewhere.asked == []


@pytest.mark.parametrize("behaviour", [status(500), status(429), truncated])
def test_what_may_go_better_next_time_is_tried_again(inventory: Inventory, panel: ApplicationPanel, behaviour: Behaviour) -> None:
    panel.fault(behaviour, of="/servers", times=2)
    assert inventory.read(**options(panel)).hosts == ["lobby-1"]


def test_the_panels_own_word_on_when_to_ask_again_counts(panel: ApplicationPanel) -> None:
    slept: list[float] = []
    panel.fault(lambda answer: answer.raw(429, b"", Retry_After="3"), of="/servers", times=1)
    panel_source.read_panel(panel_source.PanelWanted(panel.url, KEY), 5, slept.append)
    assert slept == [3.0]


def test_a_key_that_may_not_read_eggs_costs_the_egg_groups_alone(inventory: Inventory, panel: ApplicationPanel) -> None:
    panel.fault(status(403), of="/nests")
    found = inventory.read(**options(panel))
    assert found.variables("lobby-1")["server_egg"] is None
    assert len(found.warnings) == 1 and "there are no egg groups" in found.warnings[0]


def test_a_panel_without_nests_has_its_eggs_asked_for_directly(inventory: Inventory, panel: ApplicationPanel) -> None:
    panel.fault(status(404), of="/nests")
    eggs = {"data": [{"attributes": {"id": 7, "uuid": EGG, "name": "Paper"}}], "meta": {"pagination": {"total_pages": 1}}}
    panel.fault(value(eggs), of="/eggs")
    assert inventory.read(**options(panel)).variables("lobby-1")["server_egg_name"] == "Paper"


def test_what_the_panel_lists_without_a_uuid_is_told_and_left_out(inventory: Inventory, panel: ApplicationPanel) -> None:
    panel.servers.append({**panel_server("odd", 2), "uuid": "../../etc"})
    found = inventory.read(**options(panel))
    assert found.hosts == ["lobby-1"]
    assert "1 servers without a UUID" in found.warnings[0]


def test_values_of_another_type_are_not_known(inventory: Inventory, panel: ApplicationPanel) -> None:
    odd = {"name": ["x"], "suspended": "yes", "node": "1", "egg": {}, "container": [], "id": 1.5, "status": 7}
    panel.servers = [{**LOBBY, **odd}]
    (host,) = (found := inventory.read(**options(panel))).hosts
    assert {
        name: found.variables(host)[f"server_{name}"] for name in ("name", "suspended", "node", "egg", "image", "panel_id")
    } == dict.fromkeys(("name", "suspended", "node", "egg", "image", "panel_id"))


def test_a_page_that_fails_ends_the_questions(inventory: Inventory, panel: ApplicationPanel) -> None:
    panel.servers = many_servers(5000)
    panel.fault(status(500), of=r"/servers\?page=2&")
    assert "(3 tries)" in inventory.fault(**options(panel))
    assert panel.count("/servers") < 50


# ----- names


@pytest.mark.parametrize(
    "name", ["Cobalt Survival", "-rf", "a,b", "a:b", "!a", "x" * 64, "café", "all", "localhost", "nodes", "a/b", HOSTILE, "\x1b[2J"]
)
def test_a_name_that_is_not_safe_names_no_host(inventory: Inventory, panel: ApplicationPanel, name: str) -> None:
    panel.servers = [panel_server(name)]
    assert inventory.read(**options(panel)).hosts == [panel.servers[0]["uuid"][:8]]


def test_servers_of_one_name_are_all_called_by_their_short_ids(inventory: Inventory, panel: ApplicationPanel) -> None:
    panel.servers = [panel_server("lobby", number) for number in (1, 2)]
    assert inventory.read(**options(panel)).hosts == sorted(server["uuid"][:8] for server in panel.servers)


def test_an_owner_cannot_call_a_server_as_another_one_is_called(inventory: Inventory, panel: ApplicationPanel) -> None:
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


def test_short_ids_that_are_not_unique_give_way_to_uuids(inventory: Inventory, panel: ApplicationPanel) -> None:
    twin = LOBBY["uuid"][:-1] + ("0" if LOBBY["uuid"][-1] != "0" else "1")
    panel.servers = [LOBBY, {**panel_server("x", 2), "uuid": twin}]
    assert inventory.read(**options(panel, hostnames=["short_id"])).hosts == sorted([LOBBY["uuid"], twin])


def test_a_slug_is_the_name_in_small_letters_and_hyphens(inventory: Inventory, panel: ApplicationPanel) -> None:
    panel.servers = [panel_server("Cobalt  Survival! (Café)", 1), panel_server("---", 2)]
    found = inventory.read(**options(panel, hostnames=["slug", "short_id"]))
    assert found.hosts == sorted(["cobalt-survival-cafe", panel.servers[1]["uuid"][:8]])


# ----- what comes from outside


def test_nothing_that_comes_from_outside_is_ever_evaluated(inventory: Inventory, panel: ApplicationPanel, tmp_path: Path) -> None:
    panel.servers = [panel_server(HOSTILE, status=HOSTILE, container={"image": HOSTILE})]
    panel.nodes = [{"id": 1, "name": HOSTILE, "fqdn": HOSTILE}]
    panel.eggs = [{"id": 7, "uuid": HOSTILE, "name": HOSTILE}]
    found = inventory.read(**options(panel))
    (host,) = found.hosts
    for name in ("name", "panel_status", "image", "node", "egg", "egg_name"):
        assert found.seen(host, f"server_{name}") == HOSTILE
    assert found.seen(host, "ansible_host") == "node-unknown.invalid"
    assert not (tmp_path / "owned").exists() and not Path("owned").exists()


def test_what_is_composed_of_a_hostile_name_is_not_evaluated_either(inventory: Inventory, panel: ApplicationPanel) -> None:
    panel.servers = [panel_server(HOSTILE)]
    found = inventory.read(**options(panel, compose={"shown": "server_name"}))
    assert found.seen(found.hosts[0], "shown") == HOSTILE


def test_no_server_can_bring_itself_into_the_group_of_nodes(inventory: Inventory, panel: ApplicationPanel) -> None:
    panel.servers = [panel_server("nodes")]
    found = inventory.read({"node-1": {"groups": ["nodes"]}}, **options(panel))
    assert found.group("nodes") == ["node-1"]


# ----- nodes


def test_a_server_takes_the_connection_variables_of_its_node(inventory: Inventory, panel: ApplicationPanel) -> None:
    (inventory.root / "group_vars").mkdir()
    (inventory.root / "group_vars" / "nodes.yml").write_text("ansible_user: ops\nother: 1\nansible_port: 2222\n")
    (inventory.root / "host_vars").mkdir()
    (inventory.root / "host_vars" / "node-1.yml").write_text("ansible_port: 2223\n")
    earlier = {"node-1": {"groups": ["nodes"], "ansible_host": "10.0.0.11"}}
    found = inventory.read(earlier, **options(panel, nodes={"node-1": {"vars": {"ansible_become": True}}})).variables("lobby-1")
    assert [found.get(f"ansible_{name}") for name in ("host", "user", "port", "become")] == ["10.0.0.11", "ops", 2223, True]
    assert "other" not in found


def test_a_template_of_the_node_means_what_it_means_there(inventory: Inventory, panel: ApplicationPanel) -> None:
    earlier = {"node-1": {"ansible_host": trust_as_template("{{ inventory_hostname }}.example.org")}}
    found = inventory.read(earlier, **options(panel))
    assert found.variables("lobby-1")["ansible_host"] == "{{ hostvars['node-1']['ansible_host'] }}"


def test_a_template_among_the_files_own_variables_is_evaluated_for_the_server(inventory: Inventory, panel: ApplicationPanel) -> None:
    mine = {"node-1": {"vars": {"note": "{{ inventory_hostname }} of {{ server_node }}"}}}
    assert inventory.read(**options(panel, nodes=mine)).seen("lobby-1", "note") == "lobby-1 of node-1"


@pytest.mark.parametrize("earlier", [{"fra-2": {}}, {"10.9.9.2": {}}, {"fra-2": {"ansible_host": "10.9.9.2"}}])
def test_the_node_of_the_panel_is_found_in_the_inventory(inventory: Inventory, panel: ApplicationPanel, earlier: dict[str, Any]) -> None:
    panel.servers = [panel_server("far", node=2)]
    given = {} if any("10.9.9.2" in (name, *host.values()) for name, host in earlier.items()) else {"fra-2": {"panel_node": "Frankfurt 2"}}
    found = inventory.read({name: dict(host) for name, host in earlier.items()}, **options(panel, nodes=given))
    assert found.variables("far")["server_node"] == next(iter(earlier))


def test_a_server_whose_node_nobody_knows_is_never_reached_under_its_own_name(inventory: Inventory, panel: ApplicationPanel) -> None:
    panel.servers = [panel_server("lobby-1", node=None)]
    assert inventory.read(**options(panel)).variables("lobby-1")["ansible_host"] == "node-unknown.invalid"


@pytest.mark.parametrize(
    "name",
    ["-oProxyCommand=touch owned", "-l", "--", "root@elsewhere", "ssh://elsewhere", "[::1]:22", "a b", "a;b", "a.", "\u2010o", "a" * 254],
)
@pytest.mark.parametrize("field", ["fqdn", "name"])
def test_what_the_panel_calls_a_node_is_an_address_only_if_it_looks_like_one(
    inventory: Inventory, panel: ApplicationPanel, name: str, field: str
) -> None:
    panel.nodes = [{"id": 1, "name": "Frankfurt 1", "fqdn": "", field: name}]
    variables = inventory.read(**options(panel)).variables("lobby-1")
    assert variables["ansible_host"] == "node-unknown.invalid"
    assert {key for key in variables if key.startswith("ansible_")} == {"ansible_host"}


@pytest.mark.parametrize("name", ["node_1", "fra-1.example.org", "10.0.0.1", "2001:db8::1", "N"])
def test_the_name_of_a_node_that_nothing_else_tells_of_is_its_address(inventory: Inventory, panel: ApplicationPanel, name: str) -> None:
    panel.nodes = [{"id": 1, "name": name}]
    assert inventory.read(**options(panel)).variables("lobby-1")["ansible_host"] == name


def test_no_name_of_a_node_ends_the_template_that_leads_to_its_variables(inventory: Inventory, panel: ApplicationPanel) -> None:
    name = f"x'] + {HOSTILE[3:-3]} + ['x"
    panel.nodes = [{"id": 1, "name": name}]
    found = inventory.read({name: {"ansible_user": trust_as_template("{{ 'o' + 'ps' }}")}}, **options(panel))
    assert found.seen("lobby-1", "ansible_user") == "ops"


# ----- options


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "the file names no source"),
        ({"nodes": {"n": {}}}, "the file names no source"),
        ({"node": {"n": {"url": "http://x", "token": "t"}}}, "there is no node; did you mean nodes"),
        ({"nodes": {"n": {"docker_hots": "unix:///x"}}}, "Cannot use nodes.n: there is no docker_hots; did you mean docker_host"),
        ({"nodes": {"n": "ssh://x"}}, "Cannot use nodes.n: it is text, expected a map"),
        ({"nodes": {"n": {"docker_host": 5}}}, "Cannot use nodes.n.docker_host: it is 5 (a whole number), expected text"),
        ({"nodes": {"n": {"docker_host": "10.0.0.1"}}}, "Cannot use nodes.n.docker_host='10.0.0.1': expected an address"),
        ({"nodes": {"n": {"docker_host": "unix:///x", "url": "http://x", "token": "t"}}}, "it has both docker_host and url"),
        ({"nodes": {"n": {"url": "http://x"}}}, "url needs token"),
        ({"nodes": {"n": {"url": "http://x", "token": 5}}}, "Cannot use nodes.n.token: it is a whole number, expected text"),
        (
            {"nodes": {"n": {"docker_host": "tcp://x:1", "tls": "yes"}}},
            'Cannot use nodes.n.tls: it is "yes" (text), expected true or false',
        ),
        ({"nodes": {"n": {"docker_host": "tcp://x:1", "api_version": "one"}}}, "Cannot use nodes.n.api_version='one'"),
        ({"nodes": {"n": {"docker_host": "ssh://x", "ssh_args": "-i '"}}}, "Cannot use nodes.n.ssh_args: its quotes do not match"),
        ({"nodes": {"n": {"docker_host": "ssh://x", "vars": ["a"]}}}, "Cannot use nodes.n.vars: it is a list, expected a map"),
        ({"nodes": {"{{ x }}": {}}}, "the name of a node is"),
        ({"nodes": {"a b": {"url": "http://x", "token": "t"}}}, "the name of a node is"),
        ({"panel_url": "http://x"}, "panel_api_key is not given"),
        ({"panel_url": "x", "panel_api_key": "k"}, "that is no address"),
        ({"panel_url": "http://x", "panel_api_key": "a\nb"}, "characters that cannot be sent"),
        ({"snapshot": "x", "timeout": 0}, "Cannot use timeout=0: expected a whole number of seconds from 1 to 600"),
        ({"snapshot": "x", "snapshot_max_age": -1}, "Cannot use snapshot_max_age=-1"),
        ({"snapshot": "x", "hostnames": ["nam"]}, 'Cannot use hostnames: it has "nam" (text), expected name, slug'),
        ({"snapshot": "{{ nothing }}"}, "Cannot use snapshot: its template cannot be evaluated"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence_that_names_the_option(inventory: Inventory, given: dict[str, Any], said: str) -> None:
    inventory.write(**given)
    sentence = inventory.fault()
    assert said in sentence and "\n" not in sentence


def test_a_key_may_be_a_template(inventory: Inventory, panel: ApplicationPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", KEY)
    assert inventory.read(**options(panel, panel_api_key="{{ lookup('env', 'THE_KEY') }}")).hosts == ["lobby-1"]


def test_address_and_key_of_the_panel_may_come_from_the_environment(
    inventory: Inventory, panel: ApplicationPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_POWER_PANEL_URL", panel.url)
    monkeypatch.setenv("FLEET_POWER_PANEL_API_KEY", KEY)
    assert inventory.read().hosts == ["lobby-1"]


def test_only_files_of_the_right_name_are_taken(inventory: Inventory, tmp_path: Path) -> None:
    inventory.write(snapshot="x")
    plugin = __import__("ansible_collections.fleet.power.plugins.inventory.servers", fromlist=["x"]).InventoryModule()
    for name, wanted in {"a.fleet_power.yml": True, "fleet_power.yaml": True, "fleet_power.json": False, "hosts.yml": False}.items():
        (tmp_path / name).write_text("{}")
        assert plugin.verify_file(str(tmp_path / name)) is wanted


def test_groups_and_variables_may_be_constructed(inventory: Inventory, panel: ApplicationPanel) -> None:
    mine = {"keyed_groups": [{"key": "server_image", "prefix": "image"}], "groups": {"games": "'java' in server_image"}}
    found = inventory.read(**options(panel, compose={"short": "server_name | upper"}, **mine))
    assert found.group("image_games_java_17") == found.group("games") == ["lobby-1"]
    assert found.seen("lobby-1", "short") == "LOBBY-1"


def test_strict_makes_a_wrong_expression_an_error(inventory: Inventory, panel: ApplicationPanel) -> None:
    wrong = {"compose": {"x": "nothing_of_that_name"}}
    assert "x" not in inventory.read(**options(panel, **wrong)).variables("lobby-1")
    with pytest.raises(Exception, match="Could not set x for host lobby-1"):
        inventory.read(**options(panel, strict=True, **wrong))


# ----- nodes that cannot be asked


class Wings(Recorder):
    """An endpoint with one server."""

    def answer(self, asked: Asked, answering: Answering) -> None:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            answering.json(403, {"error": "You are not authorized to access this endpoint."})
            return
        configuration = {"uuid": LOBBY["uuid"], "meta": {"name": "lobby-1"}, "labels": {"role": HOSTILE, "Service": "Pterodactyl"}}
        rest = {"egg": {"id": EGG}, "container": {"image": "games/java:17"}, "environment": {"SECRET": "hidden-password-1234"}}
        # The last as our own HTTP face tells it.
        told = {"configuration": {**configuration, **rest}, "outdated": {"is": True, "differs": ["image"]}}
        answering.json(200, [{"state": "starting", "is_suspended": True, **told}])


@pytest.fixture
def wings() -> Iterator[Wings]:
    with closing(Wings()) as server:
        yield server


def test_an_endpoint_tells_state_suspension_egg_and_labels(inventory: Inventory, wings: Wings) -> None:
    found = inventory.read(nodes={"node-1": {"url": wings.url, "token": TOKEN}})
    told = found.variables("lobby-1")
    assert [told[f"server_{name}"] for name in ("state", "suspended", "egg", "node")] == ["starting", True, EGG, "node-1"]
    assert told["server_labels"] == {"role": HOSTILE} == found.seen("lobby-1", "server_labels")
    assert found.group("state_starting") == found.group("suspended") == found.group("node_node_1") == ["lobby-1"]
    assert found.group("power_outdated") == ["lobby-1"] and told["server_outdated"] is True
    assert found.group("state_running") == []
    assert any(name.startswith("label_role____lookup") for name in found.data.groups)


def test_a_node_that_cannot_be_asked_is_warned_of_and_takes_nothing_from_the_others(inventory: Inventory, wings: Wings) -> None:
    wings_nodes = {"node-1": {"url": wings.url, "token": TOKEN}, "node-2": {"docker_host": "unix:///nowhere/docker.sock"}}
    found = inventory.read(nodes=wings_nodes)
    assert found.hosts == ["lobby-1"]
    assert found.unread == ["node-2"]
    assert len(found.warnings) == 1 and "node-2 is not in the inventory: Cannot" in found.warnings[0]


def test_a_node_that_cannot_be_asked_fails_the_file_where_that_is_wanted(inventory: Inventory, wings: Wings) -> None:
    nodes = {"node-1": {"url": wings.url, "token": TOKEN}, "node-2": {"url": wings.url, "token": "another-token-123"}}
    sentence = inventory.fault(nodes=nodes, unreachable="fail")
    assert "it refuses the token" in sentence and "another-token-123" not in sentence


def test_an_inventory_that_nothing_can_be_read_of_fails(inventory: Inventory) -> None:
    said = inventory.fault(nodes={f"node-{n}": {"docker_host": f"unix:///nowhere/{n}.sock"} for n in (1, 2)})
    assert "/nowhere/1.sock" in said and "/nowhere/2.sock" in said


def test_a_node_that_a_snapshot_lacks_counts_as_one_that_cannot_be_asked(inventory: Inventory) -> None:
    nodes = [{"node": "node-1", "servers": [{"server": LOBBY["uuid"]}]}, {"node": "node-2", "error": "Failed to connect", "servers": []}]
    (inventory.root / "fleet.json").write_text(json.dumps({"schema": 1, "nodes": nodes}))
    assert inventory.read(snapshot="fleet.json").unread == ["node-2"]
    assert "Failed to connect" in inventory.fault(snapshot="fleet.json", unreachable="fail")


def test_nothing_that_could_not_be_read_is_an_empty_list(inventory: Inventory, wings: Wings) -> None:
    found = inventory.read(nodes={"node-1": {"url": wings.url, "token": TOKEN}})
    assert found.unread == []


# ----- the cache


def cached(panel: ApplicationPanel, root: Path, **more: Any) -> dict[str, Any]:
    return options(panel, cache=True, cache_plugin="jsonfile", cache_connection=str(root / "cache"), **more)


def test_the_cache_spares_every_question(inventory: Inventory, panel: ApplicationPanel, tmp_path: Path) -> None:
    first = inventory.read(**cached(panel, tmp_path))
    asked = len(panel.asked)
    again = inventory.read()
    assert again.variables("lobby-1") == first.variables("lobby-1")
    assert len(panel.asked) == asked


def test_a_refresh_does_not_read_the_cache(inventory: Inventory, panel: ApplicationPanel, tmp_path: Path) -> None:
    inventory.read(**cached(panel, tmp_path))
    panel.servers = [panel_server("new")]
    assert inventory.read(fresh=True).hosts == ["new"]
    assert inventory.read().hosts == ["new"]


def _cache_file(root: Path) -> Path:
    (path,) = (root / "cache").iterdir()
    return path


@pytest.mark.parametrize(
    "change", [{"schema": 99}, {"identity": "another"}, {"readings": [{"kind": "moon"}]}, {"readings": 5}, {"readings": None}]
)
def test_a_cache_of_another_version_or_kind_is_read_anew(
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


def test_a_damaged_cache_is_read_anew(inventory: Inventory, panel: ApplicationPanel, tmp_path: Path) -> None:
    inventory.read(**cached(panel, tmp_path))
    _cache_file(tmp_path).write_text("{")
    assert inventory.read().hosts == ["lobby-1"]


def test_a_cache_that_was_written_for_other_nodes_is_not_used(
    inventory: Inventory, panel: ApplicationPanel, wings: Wings, tmp_path: Path
) -> None:
    inventory.read(**cached(panel, tmp_path))
    found = inventory.read(**cached(panel, tmp_path, nodes={"node-1": {"url": wings.url, "token": TOKEN}}))
    assert found.variables("lobby-1")["server_state"] == "starting"


def test_the_cache_holds_no_secret(inventory: Inventory, panel: ApplicationPanel, wings: Wings, tmp_path: Path) -> None:
    inventory.read(**cached(panel, tmp_path, nodes={"node-1": {"url": wings.url, "token": TOKEN}}))
    kept = _cache_file(tmp_path).read_text()
    assert LOBBY["uuid"] in kept
    assert not any(secret in kept for secret in (KEY, TOKEN, "hidden-password-1234"))


def test_what_is_not_whole_is_not_kept(inventory: Inventory, panel: ApplicationPanel, tmp_path: Path) -> None:
    gone = {"node-9": {"docker_host": "unix:///nowhere/docker.sock"}}
    for _unused in range(2):
        assert inventory.read(**cached(panel, tmp_path, nodes=gone)).unread == ["node-9"]


# ----- several sources


def test_a_node_says_what_runs_and_the_panel_what_there_is(inventory: Inventory, panel: ApplicationPanel, wings: Wings) -> None:
    panel.servers = [LOBBY, panel_server("never-started", 2)]
    found = inventory.read(**options(panel, nodes={"node-1": {"url": wings.url, "token": TOKEN}}))
    assert found.group("state_starting") == ["lobby-1"]
    assert found.hosts == ["lobby-1", "never-started"]
    assert found.variables("lobby-1")["server_panel_id"] == 1


def test_a_server_that_two_files_know_is_one_host(inventory: Inventory, panel: ApplicationPanel) -> None:
    earlier = {"mine": {"server_uuid": LOBBY["uuid"], "server_state": "running"}}
    found: Parsed = inventory.read(earlier, **options(panel))
    assert found.hosts == ["mine"]
    assert found.variables("mine")["server_state"] == "running"
