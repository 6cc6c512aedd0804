# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The game of a server on a real engine: where it is asked, and what of an announcement its process reads."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._power.games.game import Game

from .lab import Lab, wait_until

HOSTILE = '§aRestart\nstop\r\nstop\0\x1b[2J"; stop; "{time}' + "x" * 10_000


def game_of(lab: Lab, uuid: str, **profile: Any) -> Game:
    """The game of a server that is up, as the node's settings describe it."""
    lab.write_settings(games={"profiles": {"own": profile}, "rules": [{"server": uuid, "game": "own"}]})
    node = lab.node()
    snapshot, definition = node.engine.inspect(uuid), node.sources.definition_for_stop(uuid)
    assert snapshot is not None and definition is not None
    game = node.games.of(definition.server, snapshot, definition)
    assert game is not None
    return game


def test_the_process_reads_one_line_of_plain_text_whatever_the_message_holds(lab: Lab) -> None:
    uuid = lab.up(MARK=1)
    assert game_of(lab, uuid, announce={"stdin": "say {message}"}).announce(HOSTILE) == ""
    wait_until(lambda: "got command say" in lab.log(uuid), "the process has read it")
    (read,) = re.findall(r"got command (.*), ignored", lab.log(uuid))
    assert re.fullmatch(r"say Restart stop stop ', stop, '\{time\}x+\.\.\.", read) and len(read) == len("say ") + 200
    assert lab.is_up(uuid)


def test_a_command_has_the_message_as_one_word_and_tells_if_it_failed(lab: Lab) -> None:
    uuid = lab.up()
    write = ["sh", "-c", 'echo "$#:$1" >/tmp/told', "sh", "{message}"]
    assert game_of(lab, uuid, announce={"command": write}).announce("a b; stop '$(id)' \" {message}") == ""
    counts = game_of(lab, uuid, query={"command": ["sh", "-c", 'read -r line </tmp/told && [ "${line%%:*}" = 1 ] && echo 3/20']})
    assert (counts.players().online, counts.players().most) == (3, 20)
    assert (
        game_of(lab, uuid, announce={"command": ["no-such-program", "{message}"]})
        .announce("x")
        .startswith("its announce command cannot be run")
    )


def test_without_an_open_standard_input_nothing_is_written_and_it_is_told(lab: Lab) -> None:
    uuid = lab.server()
    lab.outsider(uuid, Env=["MARK=1"])
    lab.await_ready(uuid)
    assert game_of(lab, uuid, announce={"stdin": "say {message}"}).announce("x") == "its container has no open standard input"
