# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input: one clear sentence and a code, no traceback however verbose, and nothing changed; only a kill still kills."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .controller import COLLECTIONS, MODULE, Controller
from .lab import Lab

NOT_HERE = "00000000-0000-4000-8000-000000000000"
#: Options that are wrong in themselves, and words of the sentence that says so.
WRONG_OPTIONS: list[tuple[dict[str, object], str]] = [
    ({}, "no server is named"),
    ({"server": ""}, "no server is named"),
    ({"server": ["", "  "]}, "no server is named"),
    ({"server": NOT_HERE, "action": "explode"}, "must be one of: start, stop, restart, kill, got: explode"),
    ({"server": NOT_HERE, "action": None}, "action"),
    ({"server": NOT_HERE, "wait_seconds": "soon"}, "wait_seconds"),
    ({"server": NOT_HERE, "wait_for": "godot"}, "wait_for must be one of: container, running, healthy"),
    ({"server": NOT_HERE, "wait_timeout": -1}, "Cannot use wait_timeout=-1"),
    ({"server": NOT_HERE, "stop_timeout": -1}, "Cannot use stop_timeout=-1"),
    ({"server": NOT_HERE, "stop_timeout": 10**12}, "Cannot use stop_timeout=1000000000000"),
    ({"server": NOT_HERE, "timeout": 0}, "Cannot use timeout=0"),
    ({"server": NOT_HERE, "timeout": -5}, "Cannot use timeout=-5"),
    ({"server": NOT_HERE, "action": "stop", "if_meant_up": True}, "Cannot stop with if_meant_up"),
    ({"server": [], "timeout": 0}, "Cannot use timeout=0"),
    ({"server": NOT_HERE, "definitions": "none"}, "definitions"),
    ({"server": NOT_HERE, "definitions": {"settings": {}}}, "definitions"),
    ({"server": NOT_HERE, "sever": "x"}, "Unsupported parameters"),
    ({"server": NOT_HERE, "config": "/nowhere/config.yml"}, "Cannot read settings /nowhere/config.yml: No such file or directory"),
]
#: What is wrong with a definition (keys of settings, keys of process_configuration), and code and sentence.
WRONG_DEFINITIONS: list[tuple[dict[str, object], dict[str, object], str, str]] = [
    ({"environment": {"": "x"}}, {}, "definition_invalid", "settings.environment has a variable whose name is empty"),
    (
        {"container": {"image": "registry.invalid/Upper:1"}},
        {},
        "image_unavailable",
        "Cannot inspect image registry.invalid/Upper:1: .* must be lowercase; correct settings.container.image",
    ),
    (
        {},
        {"configs": [{"file": "../out", "parser": "file", "replace": [{"match": "a", "replace_with": "b"}]}]},
        "preboot_failed",
        "Cannot edit file ../out: it leads out of the data directory; correct process_configuration.configs",
    ),
]
#: Settings that cannot be used, laid over those of the test's node, and code and sentence.
WRONG_SETTINGS: list[tuple[dict[str, object], str, str]] = [
    (
        {"wings_config": "/nowhere/wings.yml"},
        "settings_invalid",
        "Cannot read settings /nowhere/wings.yml: No such file or directory; it is wings_config of {root}/config.yml",
    ),
    (
        {"remote": "not a url", "token": "12345678", "token_id": "x"},
        "settings_invalid",
        "Cannot use the Panel at not a url: that is no address; expected http://HOST or https://HOST",
    ),
    (
        {"system": {"lock_directory": "/proc/none"}},
        "lock_unavailable",
        "Cannot make the lock directory /proc/none: No such file or directory; system.lock_directory in the settings says where it is",
    ),
]
#: Texts that mean no server, and words of the sentence that says so.
NO_SERVERS: list[tuple[object, str]] = [
    (NOT_HERE, NOT_HERE),
    ("01234567", "put it in quotes"),
    (1234567, "put it in quotes"),
    ("abcdef01", "no definition and no container"),
    ("Nobody", "no definition and no container"),
    ("../../../etc/passwd", "no definition and no container"),
    ("a\0b", "no definition and no container"),
    ("Looby", "server_power_info without a server lists those it knows"),
    (NOT_HERE.replace("-", ""), "a UUID is written with hyphens and without braces"),
    (f"{{{NOT_HERE}}}", "a UUID is written with hyphens and without braces"),
    ("x" * 100_000, "no definition and no container"),
    ("{{ nothing }} \x1b[31m", "no definition and no container"),
]


def refusal(result: dict[str, Any]) -> tuple[str, str]:
    """Outcome and code of the only server, for which nothing was changed."""
    assert result["failed"] is True
    assert result["changed"] is False
    (entry,) = result["servers"]
    assert entry["changed"] is False
    assert entry["msg"] in result["msg"]
    return entry["outcome"], entry["code"]


@pytest.mark.samples(
    "no server is named0",
    "must be one of: start, stop, restart, kill, got: explode",
    "wait_seconds",
    "Cannot use stop_timeout=1000000000000",
    "Cannot stop with if_meant_up",
    "definitions1",
    "Unsupported parameters",
    "Cannot read settings /nowhere/config.yml: No such file or directory",
)
@pytest.mark.parametrize("wrong, words", WRONG_OPTIONS, ids=[words for _wrong, words in WRONG_OPTIONS])
def test_wrong_options_are_one_sentence_and_leave_no_trace(lab: Lab, controller: Controller, wrong: dict[str, object], words: str) -> None:
    with controller.module(**{**controller.options(action="start"), "_ansible_verbosity": 4, **wrong}) as module:
        run = module.wait()
    assert run.code == 1
    assert words in run.output
    assert '"code": "settings_invalid"' in run.output
    assert "Traceback" not in run.output
    assert sorted(path.name for path in lab.root.iterdir()) == ["config.yml", "controller", "servers"]


@pytest.mark.samples("restart")
@pytest.mark.parametrize("action", ["start", "stop", "restart", "kill"])
def test_an_empty_list_of_servers_means_none_and_needs_no_node(lab: Lab, controller: Controller, action: str) -> None:
    nowhere = {**controller.options(server=[]), "docker_host": f"unix://{lab.root}/none.sock"}
    for check in (False, True):
        result = controller.run_module(action=action, _ansible_check_mode=check, **nowhere)
        assert (result["changed"], result["servers"], result["summary"], "failed" in result) == (False, [], {}, False)
        assert result["msg"] == f"Nothing to {action}: the list of servers is empty"
    result = controller.run_module("server_power_info", **nowhere)
    assert (result["complete"], result["servers"], "failed" in result) == (True, [], False)


@pytest.mark.samples("../../../etc/passwd", "Looby")
@pytest.mark.parametrize("server, words", NO_SERVERS, ids=[str(server)[:20] for server, _words in NO_SERVERS])
def test_a_text_that_means_no_server_is_refused(controller: Controller, server: object, words: str) -> None:
    result = controller.run_module(**controller.options(action="restart", server=[server]))
    assert refusal(result) == ("refused", "server_not_found")
    assert words in result["msg"]
    assert len(result["msg"]) < 400
    assert all(character.isprintable() for character in result["msg"])


@pytest.mark.samples("start", "kill")
@pytest.mark.parametrize("action", ["start", "stop", "restart", "kill"])
def test_a_uuid_that_is_not_on_this_node_is_refused_for_every_action(lab: Lab, controller: Controller, action: str) -> None:
    result = controller.run_module(**controller.options(action=action, server=NOT_HERE))
    assert refusal(result) == ("refused", "server_not_found")
    assert lab.container(NOT_HERE) is None
    assert not (lab.root / "volumes").exists()


@pytest.mark.samples(
    '{uuid}.json-{"settings": -{uuid}.json', '{uuid}.json-{"settings": {"uuid": "{uuid}"}}-settings.container.image is missing'
)
@pytest.mark.parametrize(
    "name, content, words",
    [
        ("{uuid}.json", '{"settings": ', "{uuid}.json"),
        ("{uuid}.yml", "settings: [\n", "{uuid}.yml"),
        ("{uuid}.json", '{"settings": {"uuid": "{uuid}"}}', "settings.container.image is missing"),
        ("{uuid}.json", '{"settings": {"uuid": "{uuid}", "container": {"image": 5}}}', "settings.container.image is"),
        (
            "{uuid}.json",
            '{"settings": {"uuid": "00000000-0000-4000-8000-000000000000", "container": {"image": "x"}}}',
            "it must be what the file's name says",
        ),
        ("{uuid}.json", '["nothing"]', "is a list"),
    ],
)
def test_a_malformed_definition_names_file_and_key(lab: Lab, controller: Controller, name: str, content: str, words: str) -> None:
    uuid = lab.server()
    (lab.root / "servers" / f"{uuid}.json").unlink()
    (lab.root / "servers" / name.replace("{uuid}", uuid)).write_text(content.replace("{uuid}", uuid))
    result = controller.run_module(**controller.options(action="start", server=uuid))
    assert refusal(result) == ("refused", "definition_invalid")
    assert words.replace("{uuid}", uuid) in result["msg"]
    assert lab.container(uuid) is None


@pytest.mark.samples("restart")
@pytest.mark.parametrize("action", ["start", "restart"])
def test_a_server_that_is_up_is_known_by_name_though_its_definition_is_broken(lab: Lab, controller: Controller, action: str) -> None:
    uuid = lab.server(name="Lobby")
    lab.power("start", uuid, wait_for="running")
    path = lab.root / "servers" / f"{uuid}.json"
    path.write_text('{"settings":\n  {"uuid" 5}}')
    run = lab.container(uuid)
    result = controller.run_module(**controller.options(action=action, server="Lobby"))
    if action == "start":
        assert (result["changed"], result["servers"][0]["outcome"], result["servers"][0]["server"]) == (False, "unchanged", uuid)
    else:
        assert refusal(result) == ("refused", "definition_invalid")
        assert f"Cannot read definition {path}: it is not JSON: line 2, column 11: a colon is expected here" in result["msg"]
    assert lab.container(uuid) == run
    told = controller.run_module("server_power_info", **controller.options(server="Lobby"))
    assert [entry["server"] for entry in told["servers"]] == [uuid]
    assert f"Cannot read definition {path}: it is not JSON: line 2, column 11: a colon is expected here" in str(told["warnings"])
    assert controller.run_module(**controller.options(action="stop", server="Lobby"))["changed"]
    result = controller.run_module(**controller.options(action="start", server="Lobby"))
    assert refusal(result) == ("refused", "definition_invalid")


def test_a_malformed_definition_of_the_task_names_its_place_and_key(lab: Lab, controller: Controller) -> None:
    uuid = lab.server()
    broken = {"settings": {"uuid": uuid, "container": {"image": "x"}, "build": {"memory_limit": "much"}}}
    result = controller.run_module(**controller.options(action="start", server=uuid, definitions=[broken]))
    assert refusal(result) == ("refused", "definition_invalid")
    assert "definitions[0]" in result["msg"] and "settings.build.memory_limit" in result["msg"]


def sentence_of(result: dict[str, Any]) -> str:
    """What is wrong, said once."""
    said = str(result["msg"])
    assert said.count("Cannot ") == 1, said
    return said


@pytest.mark.parametrize("settings, process, code, words", WRONG_DEFINITIONS, ids=[row[2] for row in WRONG_DEFINITIONS])
def test_a_definition_that_cannot_be_used_says_what_to_correct(
    lab: Lab, controller: Controller, settings: dict[str, object], process: dict[str, object], code: str, words: str
) -> None:
    uuid = lab.server()
    lab.edit(uuid, process=process, **settings)
    result = controller.run_module(**controller.options(action="start", server=uuid))
    assert refusal(result) == ("refused", code)
    assert re.search(words, sentence_of(result)), result["msg"]
    assert lab.container(uuid) is None


@pytest.mark.parametrize("settings, code, words", WRONG_SETTINGS, ids=[row[1] for row in WRONG_SETTINGS])
def test_settings_that_cannot_be_used_say_what_to_correct(
    lab: Lab, controller: Controller, settings: dict[str, object], code: str, words: str
) -> None:
    uuid = lab.server()
    lab.write_settings(**settings)
    result = controller.run_module(**controller.options(action="start", server=uuid))
    assert [*{result.get("code"), *(entry["code"] for entry in result.get("servers", ()))} - {None}] == [code]
    assert words.format(root=lab.root) in sentence_of(result)
    assert lab.container(uuid) is None


def test_a_data_directory_that_is_a_file_says_what_to_do(lab: Lab, controller: Controller) -> None:
    uuid = lab.server()
    lab.volume(uuid).parent.mkdir()
    lab.volume(uuid).write_text("in the way")
    result = controller.run_module(**controller.options(action="start", server=uuid))
    assert refusal(result) == ("refused", "preboot_failed")
    assert "something that is not a directory has its name; move it away" in sentence_of(result)


def test_a_mount_that_is_not_there_says_what_to_do(lab: Lab, controller: Controller) -> None:
    uuid = lab.server()
    lab.write_settings(allowed_mounts=[str(lab.root)])
    lab.edit(uuid, mounts=[{"source": f"{lab.root}/none", "target": "/mnt", "read_only": True}])
    result = controller.run_module(**controller.options(action="start", server=uuid))
    assert refusal(result) == ("refused", "preboot_failed")
    assert f"{lab.root}/none, does not exist; create it, or correct settings.mounts" in sentence_of(result)


def test_a_start_that_the_engine_refuses_is_said_once(lab: Lab, controller: Controller) -> None:
    uuid = lab.server()
    lab.write_settings(docker={"network": {"network_mode": "not-there"}})
    result = controller.run_module(**controller.options(action="start", server=uuid))
    (entry,) = result["servers"]
    assert (entry["outcome"], entry["code"]) == ("failed", "start_failed")
    assert f"Cannot start server {uuid}: network not-there not found" in sentence_of(result)


def test_only_without_a_state_says_that_none_is_meant(lab: Lab, controller: Controller) -> None:
    uuid = lab.server()
    result = controller.run_module(**controller.options(action="start", server=uuid, only=[]))
    (entry,) = result["servers"]
    assert (entry["outcome"], entry["code"]) == ("skipped", "not_selected")
    assert entry["msg"] == f"Cannot start server {uuid}: only names no state, so that no server is meant"


@pytest.mark.samples("system: [-config.yml", "docker: {pull: perhaps}-docker.pull")
@pytest.mark.parametrize(
    "content, words",
    [
        ("system: [", "config.yml"),
        ("- a list", "list"),
        ("system: {stop_timeout: long}", "system.stop_timeout"),
        ("docker: {pull: perhaps}", "docker.pull"),
    ],
)
def test_settings_that_cannot_be_understood_name_file_or_key(lab: Lab, controller: Controller, content: str, words: str) -> None:
    lab.config.write_text(content)
    result = controller.run_module(**controller.options(action="start", server=NOT_HERE))
    assert (result["failed"], result["code"]) == (True, "settings_invalid")
    assert words in result["msg"]


@pytest.mark.samples("restart", "kill")
@pytest.mark.parametrize("action", ["start", "stop", "restart", "kill"])
def test_without_an_engine_every_action_fails_and_says_so(lab: Lab, controller: Controller, action: str) -> None:
    uuid = lab.server()
    result = controller.run_module(**{**controller.options(action=action, server=uuid), "docker_host": f"unix://{lab.root}/none.sock"})
    assert refusal(result) == ("failed", "engine_unreachable")
    assert "its socket does not exist; is the engine installed and running" in result["msg"]


def test_a_library_that_is_missing_is_named(lab: Lab, controller: Controller) -> None:
    shadow = lab.root / "shadow"
    shadow.mkdir()
    (shadow / "docker.py").write_text("raise ImportError('not here', name='docker')\n")
    result = controller.run_module(
        environment={"PYTHONPATH": f"{shadow}{os.pathsep}{COLLECTIONS}"}, **controller.options(action="start", server=lab.server())
    )
    assert refusal(result) == ("refused", "missing_library")
    assert "python3-docker" in result["msg"]


@pytest.fixture
def powerless() -> list[str]:
    """What runs a command so that the permissions of files count for it, for root too."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]


def forbid(path: Path) -> None:
    """Give a file to somebody else and take every right from others."""
    path.chmod(0o700 if path.is_dir() else 0o600)
    if os.geteuid() == 0:
        os.chown(path, 1, 1)
    else:
        path.chmod(0)


@contextlib.contextmanager
def forbidden_socket(path: Path) -> Iterator[None]:
    """A socket that others own."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        forbid(path)
        yield


def test_a_socket_that_may_not_be_used_is_told_from_one_that_is_not_there(lab: Lab, controller: Controller, powerless: list[str]) -> None:
    uuid = lab.server()
    path = lab.root / "docker.sock"
    with forbidden_socket(path):
        result = controller.run_module(
            through=powerless, **{**controller.options(action="stop", server=uuid), "docker_host": f"unix://{path}"}
        )
    assert refusal(result) == ("failed", "engine_unreachable")
    assert "permission denied on its socket; become root, or join the group" in result["msg"]


def test_settings_that_may_not_be_read_are_an_error(lab: Lab, controller: Controller, powerless: list[str]) -> None:
    forbid(lab.config)
    result = controller.run_module(through=powerless, **controller.options(action="start", server=NOT_HERE))
    assert (result["failed"], result["code"]) == (True, "settings_invalid")
    assert result["msg"] == f"Cannot read settings {lab.config}: Permission denied"


def test_definitions_that_may_not_be_read_are_not_a_server_that_is_unknown(lab: Lab, controller: Controller, powerless: list[str]) -> None:
    # What is in no definition is looked for on the engine, which has servers of other tests, too.
    hidden = f"Hidden {secrets.token_hex(4)}"
    uuid = lab.server(name=hidden)
    forbid(lab.root / "servers")
    for name in (uuid, hidden):
        result = controller.run_module(through=powerless, **controller.options(action="start", server=name))
        assert refusal(result) == ("refused", "source_unreachable")
        assert f"{lab.root}/servers" in result["msg"]


@pytest.mark.samples("restart")
@pytest.mark.parametrize("action", ["start", "stop", "restart"])
def test_without_a_lock_nothing_is_done(lab: Lab, controller: Controller, action: str) -> None:
    uuid = lab.server()
    if action != "start":
        lab.power("start", uuid, wait_for="running")
        (lab.root / "run").rename(lab.root / "run-before")
    (lab.root / "run").write_text("in the way")
    result = controller.run_module(**controller.options(action=action, server=uuid))
    assert refusal(result) == ("refused", "lock_unavailable")
    assert f"{lab.root}/run" in result["msg"]
    assert lab.is_up(uuid) == (action != "start")


def test_a_kill_without_lock_and_generation_still_kills_and_says_that_it_is_not_guarded(lab: Lab, controller: Controller) -> None:
    uuid = lab.server()
    lab.power("start", uuid, wait_for="running")
    for name in ("run", "state"):
        (lab.root / name).rename(lab.root / f"{name}-before")
        (lab.root / name).write_text("in the way")
    result = controller.run_module(**controller.options(action="kill", server=uuid))
    (entry,) = result["servers"]
    assert (entry["outcome"], entry["code"], entry["state"], result["changed"]) == ("done", "unguarded", "offline", True)
    assert not lab.is_up(uuid)


def test_no_traceback_reaches_the_user_however_verbose(lab: Lab, controller: Controller) -> None:
    broken, no_engine = lab.server(), f"unix://{lab.root}/none.sock"
    (lab.root / "servers" / f"{broken}.json").write_text("{")
    bad: list[dict[str, object]] = [
        {"server": NOT_HERE},
        {"server": NOT_HERE, "action": "explode"},
        {"server": broken},
        {"server": broken, "docker_host": no_engine},
        {"server": "x", "config": "/nowhere/config.yml"},
        {"server": ""},
    ]
    tasks = [{MODULE: controller.options(**{"action": "start", **options}), "ignore_errors": True} for options in bad]
    run = controller.play(tasks, "-vvvv")
    assert run.code == 0, run.output
    assert "Traceback" not in run.output
    assert [bool(result["msg"]) for result in run.results] == [True] * len(bad)
    codes = [result.get("code") or result["servers"][0]["code"] for result in run.results]
    assert codes == [
        "server_not_found",
        "settings_invalid",
        "definition_invalid",
        "engine_unreachable",
        "settings_invalid",
        "settings_invalid",
    ]
