# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hundred servers whose players one task waits for: the memory and the processor time of that, on the node.

The game is a stand-in that answers as Minecraft's status does; what it costs is none of ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.fleet.power.tests.bench.commands import POWER, Commands
from ansible_collections.fleet.power.tests.bench.many import take_away
from ansible_collections.fleet.power.tests.bench.measure import Row, Spread, bound
from ansible_collections.fleet.power.tests.integration.lab import Lab
from ansible_collections.fleet.power.tests.unit.game_support import ping_answer

_COUNT = 200
#: Seconds that the task waits: to begin, then to be watched, then to end.
_MAX_DELAY = 60
_SETTLED_SECONDS = 15.0
_WATCHED_SECONDS = 30.0


class _Status(socketserver.BaseRequestHandler):
    """Minecraft's status of a server on which three play."""

    def handle(self) -> None:
        """Answer one question."""
        status = {"version": {"name": "1.21.4", "protocol": 769}, "players": {"max": 20, "online": 3}}
        self.request.recv(1024)
        self.request.sendall(ping_answer(json.dumps(status).encode()))


class _Game(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 1024


@contextlib.contextmanager
def _game() -> Iterator[int]:
    """A game that is asked at the port yielded."""
    with _Game(("127.0.0.1", 0), _Status) as game:
        threading.Thread(target=game.serve_forever, daemon=True).start()
        yield game.server_address[1]
        game.shutdown()


def measure(lab: Lab) -> Iterator[Row]:
    """What waits for the players of two hundred servers."""
    with _game() as port:
        # On the machine's own network all of them are asked at one port.
        lab.write_settings(
            games={"profiles": {"bench": {"query": "minecraft", "port": port}}}, docker={"network": {"network_mode": "host"}}
        )
        uuids = [lab.server(stop={"type": "signal", "value": "SIGTERM"}, done=()) for _number in range(_COUNT)]
        for uuid in uuids:
            definition = lab.definition(uuid)
            lab.edit(uuid, meta={**definition["settings"]["meta"], "game": "bench"})
        try:
            commands = Commands(lab)
            options = commands.own(server=uuids, action="restart", players_at_most=0, max_delay=_MAX_DELAY, max_parallel=4)
            # Servers that are down are started, without regard to anybody.
            payload = commands.payload(POWER, options)
            with payload.running() as child:
                time.sleep(_SETTLED_SECONDS)
                before, began = _processor_seconds(child.pid), time.monotonic()
                time.sleep(_WATCHED_SECONDS)
                share = (_processor_seconds(child.pid) - before) / (time.monotonic() - began)
                memory = max(_peak_megabytes(pid) for pid in (child.pid, *_children(child.pid)))
                output, _errors = child.communicate(timeout=_MAX_DELAY + 60)
            codes = {entry["code"] for entry in json.loads(output.splitlines()[-1])["servers"]}
            assert codes == {"players_online"}, codes
        finally:
            take_away(lab, uuids)
    yield bound(f"{_COUNT} servers waited for, of one core", Spread((100 * share,), "percent"), 2, ["a look every 5 s at each"])
    yield bound(f"{_COUNT} servers waited for, memory", Spread((memory,), "MB"), 100, ["peak of the process, resident"])


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _processor_seconds(pid: int) -> float:
    """The processor time of a process and its children, in seconds."""
    ticks = 0
    for each in (pid, *_children(pid)):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _peak_megabytes(pid: int) -> float:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
