# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller checks definitions and settings for a node: it names each fault by place and key, and sends only usable definitions."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ansible.plugins.action")
yaml = pytest.importorskip("yaml")
plugin = importlib.import_module("ansible_collections.fleet.power.plugins.action.node_step")
dataloader = importlib.import_module("ansible.parsing.dataloader")
vault = importlib.import_module("ansible.parsing.vault")
errors = importlib.import_module("ansible.errors")

CHECKOUT = Path(__file__).resolve().parents[2]
Step = Callable[..., dict[str, Any]]


def uuid(number: int) -> str:
    return f"{number:08d}-0000-4000-8000-000000000000"


def definition(number: int, **settings: object) -> dict[str, Any]:
    return {"settings": {"uuid": uuid(number), "meta": {"name": f"s{number}"}, "container": {"image": "game:1"}, **settings}}


def put(directory: Path, number: int, content: object, extension: str = "json") -> Path:
    """Write a file: text or bytes unchanged, other values as JSON."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{uuid(number)}.{extension}"
    path.write_bytes(content if isinstance(content, bytes) else (content if isinstance(content, str) else json.dumps(content)).encode())
    return path


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> Step:
    """The result of a step with these variables. A variable that is an exception fails its evaluation."""
    monkeypatch.setattr(plugin.ActionBase, "run", lambda self, tmp=None, task_vars=None: {})

    def evaluated(value: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    def returned(name: str, *, secret: str = "", **variables: object) -> dict[str, Any]:
        loader = dataloader.DataLoader()
        if secret:
            loader.set_vault_secrets([("default", vault.VaultSecret(secret.encode()))])
        task, templar = SimpleNamespace(args={"step": name}, check_mode=False), SimpleNamespace(template=evaluated)
        action = plugin.ActionModule(task=task, connection=None, play_context=None, loader=loader, templar=templar, shared_loader_obj=None)
        result: dict[str, Any] = action.run(task_vars={"inventory_hostname": "n", **variables})
        return result

    return returned


def places(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(os.path.basename(fault["place"]), fault["key"]) for fault in result["faults"]]


def test_valid_definitions_and_settings_have_no_faults(step: Step, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, 1, definition(1))
    put(tmp_path, 2, yaml.safe_dump(definition(2, invocation="./x {{SERVER_PORT}}")), "yml")
    (tmp_path / "README.md").write_text("for people")
    variables = {
        "node_definitions_dir": str(tmp_path),
        "node_definitions": [definition(3)],
        "node_settings": {"system": {"stop_timeout": 5}},
        "node_priorities": {"s1": 1},
        "node_event_receivers": [{"name": "a", "url": "https://a.test", "secret": f"whsec_{'A' * 32}"}],
    }
    result = step("validate", **variables)
    assert (result["failure"], result["faults"], result["doubts"], result["given"]) == ("", [], [], True)
    assert result["servers"] == [uuid(1), uuid(2), uuid(3)]
    assert capsys.readouterr().out.strip() == "n: 3 definitions, 0 faults, 0 warnings"
    read = step("definitions", **variables)
    assert list(read["files"]) == [f"{uuid(1)}.json", f"{uuid(2)}.yml", f"{uuid(3)}.json"]
    assert read["files"][f"{uuid(3)}.json"] == json.dumps(definition(3), indent=2, sort_keys=True)
    assert (read["broken"], read["refused"], read["faults"]) == ([], "", "")


def test_rules_that_select_no_defined_server_are_doubts_unless_a_panel_has_more(step: Step) -> None:
    hook = {"pre_start": {"command": ["/bin/true"]}}
    variables: dict[str, Any] = {
        "node_definitions": [definition(1)],
        "node_settings": {"hooks": [{"server": "all", **hook}, {"server": "nobody", **hook}]},
        "node_event_receivers": [{"name": "a", "url": "https://a.test", "servers": [{"egg": "5"}]}],
    }
    result = step("validate", **variables)
    why = "selects no server that is defined here"
    doubts = [(doubt["place"], doubt["msg"]) for doubt in result["doubts"]]
    assert (result["failure"], doubts) == (
        "",
        [("node_settings", f"hooks[1] {why}"), ("node_event_receivers", f"[0].servers[0] {why}")],
    )
    variables["node_settings"] = {"remote": "https://panel.test"}
    assert step("validate", **variables)["doubts"] == []
    variables["node_settings"] = {"wings_config": "/etc/pterodactyl/config.yml"}
    assert step("validate", **variables)["doubts"] == []


def test_a_broken_definition_does_not_affect_other_definitions(step: Step, tmp_path: Path) -> None:
    put(tmp_path, 1, definition(1))
    put(tmp_path, 2, '{"hunter2')
    read = step("definitions", node_definitions_dir=str(tmp_path), node_definitions=[definition(3, build={"swap": "much"}), definition(4)])
    assert read["broken"] == [f"{uuid(2)}.json", f"{uuid(3)}.json"]
    assert list(read["files"]) == [f"{uuid(1)}.json", f"{uuid(4)}.json"]
    assert read["refused"] == ""
    assert f"{tmp_path}/{uuid(2)}.json: it is not JSON: line 1, column 2" in read["faults"] and "hunter2" not in read["faults"]
    assert 'node_definitions[0]: settings.build.swap is "much" (text), expected a whole number of -1 or more' in read["faults"]


@pytest.mark.parametrize(
    ("content", "extension", "said"),
    [
        (b"[" * 100_000, "json", "nested too deeply"),
        (b"hunter2: a: b", "yml", "it is not YAML: line 1, column 11"),
        (b"!!python/object/apply:os.system [hunter2]", "yml", "it is not YAML"),
        (b"$ANSIBLE_VAULT;1.1;AES256\n6162\n", "yml", "cannot be decrypted"),
    ],
)
def test_an_unreadable_definition_is_broken(step: Step, tmp_path: Path, content: bytes, extension: str, said: str) -> None:
    put(tmp_path, 1, content, extension)
    read = step("definitions", node_definitions_dir=str(tmp_path))
    assert (read["broken"], read["refused"]) == ([f"{uuid(1)}.{extension}"], "")
    assert said in read["faults"] and "hunter2" not in read["faults"]


def test_definitions_encrypted_with_ansible_vault_are_checked(step: Step, tmp_path: Path) -> None:
    encrypt = vault.VaultLib([("default", vault.VaultSecret(b"pass"))]).encrypt
    put(tmp_path, 1, encrypt(json.dumps(definition(1)).encode()))
    put(tmp_path, 2, encrypt(json.dumps(definition(2, suspended="hunter2")).encode()))
    result = step("validate", secret="pass", node_definitions_dir=str(tmp_path))
    assert places(result) == [(f"{uuid(2)}.json", "settings.suspended")]


def test_definitions_without_a_clear_server_are_refused(step: Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    servers, secret = tmp_path / "servers", tmp_path / "secret"
    secret.write_text("{}")
    put(servers, 1, definition(1))
    put(servers, 1, yaml.safe_dump(definition(1)), "yml")
    unreadable = put(servers, 2, definition(2))
    (servers / f"{uuid(3)}.json").symlink_to(secret)
    (servers / "lobby.json").write_text("{}")
    (servers / f"{uuid(4).replace('4', 'A')}.yml").write_text("{}")
    (servers / f"{uuid(5)}.json").mkdir()
    os.mkfifo(servers / f"{uuid(6)}.json")
    kept = os.open

    def closed(path: Any, *arguments: Any, **more: Any) -> Any:
        if str(path) == str(unreadable):
            raise PermissionError(13, "Permission denied")
        return kept(path, *arguments, **more)

    monkeypatch.setattr(os, "open", closed)
    given = {"node_definitions_dir": str(servers), "node_definitions": [definition(1), {"settings": {}}, {"settings": {"uuid": "../../x"}}]}
    faults = {os.path.basename(fault["place"]): fault["msg"] for fault in step("validate", **given)["faults"]}
    assert step("definitions", **given)["refused"] != ""
    wanted = {
        f"{uuid(1)}.yml": "this is a second definition",
        f"{uuid(2)}.json": "it cannot be read: Permission denied",
        f"{uuid(3)}.json": "links are not followed",
        f"{uuid(5)}.json": "links are not followed",
        f"{uuid(6)}.json": "links are not followed",
        "lobby.json": "it would have no effect",
        f"{uuid(4).replace('4', 'A')}.yml": "it would have no effect",
        "node_definitions[0]": "this is a second definition",
        "node_definitions[1]": "it has no settings.uuid",
        "node_definitions[2]": "it has no settings.uuid",
    }
    assert set(faults) == set(wanted)
    assert [name for name, said in wanted.items() if said not in faults[name]] == []


@contextmanager
def swapped(path: Path, other: Path) -> Iterator[None]:
    """Swap two files in another process, again and again."""
    program = (
        "import os, sys\n"
        "one, other, spare = sys.argv[1:]\n"
        "print(flush=True)\n"
        "while True:\n"
        "    os.rename(one, spare); os.rename(other, one); os.rename(spare, other)\n"
    )
    command = [sys.executable, "-c", program, str(path), str(other), f"{other}.spare"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as swapper:
        try:
            assert swapper.stdout is not None and swapper.stdout.readline()
            yield
        finally:
            swapper.kill()


def test_a_link_in_the_place_of_a_checked_file_is_never_followed(step: Step, tmp_path: Path) -> None:
    text = json.dumps(definition(1))
    path, link, secret = put(tmp_path / "servers", 1, text), tmp_path / "link", tmp_path / "secret"
    secret.write_text(json.dumps(definition(1, environment={"TOKEN": "hunter2"})))
    link.symlink_to(secret)
    with swapped(path, link):
        sent = [step("definitions", node_definitions_dir=str(path.parent))["files"].get(path.name, text) for _each in range(1000)]
    assert set(sent) == {text}


def test_the_text_that_was_checked_is_the_text_that_is_sent(step: Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, encrypt = json.dumps(definition(1)), vault.VaultLib([("default", vault.VaultSecret(b"pass"))]).encrypt
    kept = plugin.NodeFindings.look_at_definition

    def replaced_after(*arguments: Any) -> Any:
        is_usable = kept(*arguments)
        path.write_text("{")
        return is_usable

    monkeypatch.setattr(plugin.NodeFindings, "look_at_definition", replaced_after)
    for content in (text, encrypt(text.encode())):
        path = put(tmp_path, 1, content)
        assert step("definitions", secret="pass", node_definitions_dir=str(tmp_path))["files"] == {path.name: text}


def test_each_variable_is_evaluated_once(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, evaluated = plugin.ActionModule._value, []

    def value(action: Any, name: str) -> Any:
        evaluated.append(name)
        return kept(action, name)

    monkeypatch.setattr(plugin.ActionModule, "_value", value)
    assert step("definitions", node_definitions=[definition(1)])["given"]
    assert sorted(evaluated) == ["node_definitions", "node_definitions_dir", "node_definitions_purge"]


def test_a_missing_directory_and_an_empty_directory_with_purge_are_refused(step: Step, tmp_path: Path) -> None:
    assert "is not a directory on the controller" in step("definitions", node_definitions_dir=str(tmp_path / "gone"))["refused"]
    assert step("definitions", node_definitions_dir=str(tmp_path))["refused"] == ""
    read = step("definitions", node_definitions_dir=str(tmp_path), node_definitions_purge="yes")
    assert "would remove all of the node" in read["refused"]


def test_every_wrong_type_of_the_settings_is_named_and_unknown_keys_are_warnings(step: Step) -> None:
    result = step(
        "validate",
        node_settings={"token": ["hunter2"], "system": {"stop_timeout": "soon", "dta": "/x"}, "docker": {"pull": 5}, "colour": "red"},
        node_priorities={"lobby": "first"},
        node_event_receivers=[{"name": "a", "url": "https://a.test", "ulr": "x"}, {"name": "b"}],
    )
    assert places(result) == [
        ("node_settings", "token"),
        ("node_settings", "system.stop_timeout"),
        ("node_settings", "docker.pull"),
        ("node_priorities", "system.priorities.lobby"),
        ("node_event_receivers", "[1]"),
        ("node_event_receivers", "[0].ulr"),
    ]
    assert [(doubt["place"], doubt["key"]) for doubt in result["doubts"]] == [("node_settings", "system.dta"), ("node_settings", "colour")]
    assert "hunter2" not in json.dumps(result)


def test_a_huge_file_is_refused_by_its_size_and_not_read(step: Step, tmp_path: Path) -> None:
    path = put(tmp_path, 1, "$ANSIBLE_VAULT;1.1;AES256\n")
    os.truncate(path, 2**31)
    tracemalloc.start()
    try:
        read = step("definitions", node_definitions_dir=str(tmp_path))
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
    assert read["broken"] == [path.name]
    assert read["faults"] == f"{path}: it is larger than 1048576 bytes"


def test_a_variable_that_cannot_be_evaluated_is_a_fault(step: Step) -> None:
    lost = errors.AnsibleUndefinedVariable("'panel_token' is undefined")
    refused = step("definitions", node_definitions=lost)["refused"]
    assert refused == "n: the definitions cannot be read: 'panel_token' is undefined"
    result = step("validate", node_definitions=lost, node_settings=lost, node_priorities={"lobby": "first"})
    assert [fault["place"] for fault in result["faults"]] == ["n", "node_settings", "node_priorities"]


def validated(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the playbook as a pipeline does, without nodes."""
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "fleet.power.validate", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment.update(ANSIBLE_COLLECTIONS_PATH=str(CHECKOUT / ".build"), ANSIBLE_NOCOLOR="1", HOME=str(place))
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_playbook_names_the_faults_of_each_node_and_fails_only_faulty_nodes(tmp_path: Path) -> None:
    hosts: dict[str, Any] = {name: {"ansible_host": "192.0.2.1"} for name in ("one", "two", "three")}
    hosts["one"]["node_settings"] = {"system": {"stop_timeout": "soon"}}
    where = {"node_definitions_dir": "{{ inventory_dir }}/servers/{{ inventory_hostname }}"}
    (tmp_path / "inventory.yml").write_text(json.dumps({"nodes": {"hosts": hosts, "vars": where}}))
    servers = tmp_path / "servers"
    put(servers / "one", 1, definition(1, environment={"TOKEN=": "hunter2"}))
    put(servers / "two", 2, "{")
    put(servers / "three", 3, definition(3))
    ran = validated(tmp_path, "-i", "inventory.yml")
    assert ran.returncode == 2, ran.stdout + ran.stderr
    for fault in (f"{servers}/one/{uuid(1)}.json: settings.env", "node_settings: system.stop_", f"{servers}/two/{uuid(2)}.json: it is no"):
        assert f"  fault: {fault}" in ran.stdout
    assert "hunter2" not in ran.stdout + ran.stderr
    assert "Cannot use the input of one: 2 faults, listed above" in ran.stdout
    assert [ran.stdout.count(f"fatal: [{node}]") for node in hosts] == [1, 1, 0]


@pytest.mark.long
def test_the_playbook_tells_a_missing_directory_from_an_empty_one(tmp_path: Path) -> None:
    ran = validated(tmp_path, "-e", "node_definitions_dir=servers")
    assert (ran.returncode, "servers: it is not a directory on the controller;" in ran.stdout) == (2, True)
    assert "Cannot check anything" not in ran.stdout + ran.stderr
    assert "Cannot use the input of localhost: 1 fault, listed above" in ran.stdout + ran.stderr
    (tmp_path / "servers").mkdir()
    ran = validated(tmp_path, "-e", "node_definitions_dir=servers")
    assert ran.returncode == 2
    assert "Cannot check anything: no definitions and no settings are given for localhost" in ran.stdout + ran.stderr
