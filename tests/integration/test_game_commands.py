# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Games on a real engine: commands in a container end with their children, and a message is one line of plain text."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine import engine_commands
from ansible_collections.fleet.power.plugins.module_utils._power.engine.docker_engine import DockerEngine
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_commands import CommandEnd
from ansible_collections.fleet.power.plugins.module_utils._power.games.game import Game

from .lab import Lab, wait_until
from .played import game_of

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may end processes in a container")
#: A long process with a child in the background.
HANGS = ("sh", "-c", "sleep 1001 & sleep 1002")


class Commands:
    def __init__(self, lab: Lab) -> None:
        self.uuid = lab.up()
        self.engine: DockerEngine = lab.node().engine
        snapshot = self.engine.inspect(self.uuid)
        assert snapshot is not None
        self.container = snapshot.id
        self._lab = lab

    def run(self, *words: str, seconds: float = 20.0, most_bytes: int = 4096) -> CommandEnd:
        return self.engine.commands.run(self.container, words, seconds=seconds, most_bytes=most_bytes)

    def shell(self, script: str, **bounds: float) -> CommandEnd:
        return self.run("sh", "-c", script, **bounds)  # type: ignore[arg-type]

    def running(self) -> list[str]:
        rows = self._lab.client.top(self.container, ps_args="-eo pid,args")["Processes"]
        return [line for _pid, line in rows if "testserver" not in line]


@pytest.fixture(name="commands")
def in_a_server(lab: Lab) -> Iterator[Commands]:
    yield Commands(lab)


def test_a_missing_program_gives_exit_code_126_or_127(commands: Commands) -> None:
    assert commands.run("no-such-program").exit_code in (126, 127)


@as_root
def test_the_timeout_ends_a_command_with_its_children_and_keeps_the_server(commands: Commands) -> None:
    began = time.monotonic()
    assert commands.run(*HANGS, seconds=0.5) == CommandEnd(None, why="has not ended in time")
    assert time.monotonic() - began < 10.0
    wait_until(lambda: not any("sleep 100" in line for line in commands.running()), "its children are gone")
    assert commands.shell("echo 3") == CommandEnd(0, b"3\n")


@as_root
def test_a_command_that_prints_too_much_is_ended(commands: Commands) -> None:
    ended = commands.shell("while :; do echo 12345678901234567890; done")
    assert ended == CommandEnd(None, why="prints more than 4096 bytes")
    wait_until(lambda: not any("while" in line for line in commands.running()), "the command is gone")


def test_a_command_that_cannot_be_ended_blocks_the_next_until_it_ends(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_commands, "end_session", lambda *process: None)
    monkeypatch.setattr(engine_commands, "_END_SECONDS", 0.3)
    assert commands.run("sleep", "1.5", seconds=0.3).why == "has not ended in time"
    assert commands.shell("echo 3").why == "was not run: the one before still runs in its container"
    assert len(commands.running()) == 1
    wait_until(lambda: commands.shell("echo 3") == CommandEnd(0, b"3\n"), "the command has ended, and the next one runs")


def test_commands_in_one_container_run_one_after_the_other(commands: Commands) -> None:
    found: list[CommandEnd] = []
    scripts = ["sleep 2.01; echo 3", *["sleep 0.3; echo 3"] * 2]
    threads = [threading.Thread(target=lambda script=script: found.append(commands.shell(script))) for script in scripts]
    began = time.monotonic()
    threads[0].start()
    wait_until(lambda: any("sleep 2.01" in line for line in commands.running()), "the first one runs")
    for thread in threads[1:]:
        thread.start()
    assert commands.shell("echo 4", seconds=0.1).why == "was not run: another one still runs in its container"
    for thread in threads:
        thread.join()
    assert found == [CommandEnd(0, b"3\n")] * 3
    assert time.monotonic() - began > 2.6


HOSTILE = '§aRestart\nstop\r\nstop\0\x1b[2J"; stop; "{time}' + "x" * 10_000


def game_with(lab: Lab, uuid: str, **profile: Any) -> Game:
    """The game of a running server, with ``profile`` from the node's settings."""
    lab.write_settings(games={"profiles": {"own": profile}, "rules": [{"server": uuid, "game": "own"}]})
    return game_of(lab, uuid)


def test_a_hostile_message_reaches_the_process_as_one_line_of_plain_text(lab: Lab) -> None:
    uuid = lab.up(MARK=1)
    assert game_with(lab, uuid, announce={"stdin": "say {message}"}).announce(HOSTILE) == ""
    wait_until(lambda: "got command say" in lab.log(uuid), "the process has read it")
    (read,) = re.findall(r"got command (.*), ignored", lab.log(uuid))
    assert re.fullmatch(r"say Restart stop stop ', stop, '\{time\}x+\.\.\.", read) and len(read) == len("say ") + 200
    assert lab.is_up(uuid)


def test_a_command_gets_the_message_as_one_word_and_reports_its_failure(lab: Lab) -> None:
    uuid = lab.up()
    write = ["sh", "-c", 'echo "$#:$1" >/tmp/message', "sh", "{message}"]
    assert game_with(lab, uuid, announce={"command": write}).announce("a b; stop '$(id)' \" {message}") == ""
    counts = game_with(lab, uuid, query={"command": ["sh", "-c", 'read -r line </tmp/message && [ "${line%%:*}" = 1 ] && echo 3/20']})
    assert (counts.players().online, counts.players().most) == (3, 20)
    assert (
        game_with(lab, uuid, announce={"command": ["no-such-program", "{message}"]})
        .announce("x")
        .startswith("its announce command cannot be run")
    )


def test_an_announcement_without_open_standard_input_reports_its_failure(lab: Lab) -> None:
    uuid = lab.server()
    lab.outsider(uuid, Env=["MARK=1"])
    lab.await_ready(uuid)
    assert game_with(lab, uuid, announce={"stdin": "say {message}"}).announce("x") == "its container has no open standard input"
