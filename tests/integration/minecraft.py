# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Minecraft server that the collection runs, and real players, both from `tests/lab/minecraft`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import uuid as uuid_module
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .lab import Lab, free_port, wait_until

IMAGE = "~fleet-power/minecraft:latest"
_LAB = Path(__file__).parents[1] / "lab" / "minecraft"
_HOME = Path(__file__).parents[2] / ".build" / "minecraft"
#: The first spawn of a player on a loaded machine.
_JOIN_SECONDS = 60.0


def build(docker_host: str) -> None:
    """Make the image and fetch the packages of the players, unless both exist."""
    subprocess.run([_LAB / "build"], env={**os.environ, "DOCKER_HOST": docker_host}, check=True)


def definition(uuid: str, port: int, *, name: str = "", game: str = "minecraft", **own: Any) -> dict[str, Any]:
    """The definition of a server; ``own`` adds ``settings``."""
    return {
        "settings": {
            "uuid": uuid,
            "meta": {"name": name or f"minecraft-{uuid[:8]}", "game": game},
            "container": {"image": IMAGE},
            "allocations": {"default": {"ip": "0.0.0.0", "port": port}, "mappings": {"0.0.0.0": [port]}},
            **own,
        },
        "process_configuration": {"startup": {"done": ['For help, type "help"']}, "stop": {"type": "command", "value": "stop"}},
    }


def minecraft_up(lab: Lab, *, name: str = "", games: Mapping[str, Any] | None = None, **own: Any) -> tuple[str, int]:
    """Start a server on the lab's node; return its uuid and the port for players when it is ready. ``games``: settings of that name."""
    lab.write_settings(docker={"network": {"network_mode": "bridge"}}, games=games or {})
    uuid, port = str(uuid_module.uuid4()), free_port()
    lab.uuids.append(uuid)
    lab.define(uuid, definition(uuid, port, name=name, **own))
    result = lab.power("start", uuid, wait_for="running")
    assert (result.outcome.value, result.code) == ("done", ""), result.msg
    return uuid, port


class Player:
    """A player who joins. A thread reads what the player sees."""

    def __init__(self, port: int, name: str = "alice") -> None:
        environment = {**os.environ, "NODE_PATH": str(_HOME / "node_modules")}
        self._process = subprocess.Popen(
            ["node", str(_LAB / "player.js"), str(port), name], stdout=subprocess.PIPE, text=True, env=environment
        )
        self._seen: list[list[str]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):
                self._seen.append(json.loads(line))

    def await_joined(self) -> Player:
        wait_until(lambda: ["joined"] in self._seen or self.is_gone, "the player joins", _JOIN_SECONDS)
        assert ["joined"] in self._seen, self._seen
        return self

    def chat(self) -> list[str]:
        return [seen[1] for seen in list(self._seen) if seen[0] == "chat"]

    def await_chat(self, part: str) -> str:
        """Wait for a line of chat that contains ``part``, and return the first."""
        found: str = wait_until(lambda: next((line for line in self.chat() if part in line), ""), f"{part!r} in the chat")
        return found

    @property
    def is_gone(self) -> bool:
        """True after he left the game, was kicked or lost the server."""
        return self._process.poll() is not None

    def leave(self) -> None:
        if not self.is_gone:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20)

    def kill(self) -> None:
        """End the player's process without a goodbye."""
        if not self.is_gone:
            self._process.kill()
        self._process.wait(20)
        self._reader.join(20)
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextlib.contextmanager
def playing(port: int, name: str = "alice") -> Iterator[Player]:
    player = Player(port, name)
    try:
        yield player.await_joined()
    finally:
        player.kill()
