# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks with progress lines: the lines and their times, the servers, and the job's remains on the node."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from .lab import Going, Node, home, uuid_of, wait_until
from .ran import Ran
from .scratch import current
from .servers import holder_of, phase_of, server

Definition = dict[str, Any]
#: Turns progress lines off.
UNFOLLOWED = {"FLEET_POWER_FOLLOW": "0"}
#: Seconds before a task becomes a job, and seconds for which its node may be unreachable.
HANDED_OVER, PATIENCE = 2.0, 60.0
#: Seconds without a poll after which a job begins nothing new, and the longest time of one poll.
HOLD, POLL = 2.0, 10.0
#: Fields that differ between two runs of the same action.
_PASSING = ("seconds", "ready_seconds", "started_at", "operation", "start", "end", "delta")
_PROGRESS = re.compile(r"^\d\d:\d\d:\d\d (?P<host>\S+) (?P<text>.*\S)\s*$", re.MULTILINE)
_LOOK_SECONDS = 0.05
_READ_JOURNAL = """
import json, sqlite3, sys
journal = sqlite3.connect("/var/lib/fleet-power/journal.sqlite", timeout=10)
rows = journal.execute("SELECT uuid, begun_at, outcome FROM operations WHERE action = ? ORDER BY number", sys.argv[1:])
print(json.dumps(rows.fetchall()))
"""


@dataclass(frozen=True)
class Said:
    """A line of progress, and the seconds from the run's start until it was readable."""

    moment: float
    host: str
    text: str


class Watch:
    """Reads the lines of a run as they appear, from its start to its end."""

    def __init__(self, going: Going) -> None:
        self.going = going
        self._began = time.monotonic()
        self._said: list[Said] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def now(self) -> float:
        return time.monotonic() - self._began

    @property
    def said(self) -> list[Said]:
        return list(self._said)

    def texts(self) -> list[str]:
        return [each.text for each in self._said]

    def ends(self, what: str) -> dict[str, float]:
        """Return the time of each server's line that says ``what``, such as ``stop done``."""
        return {name: each.moment for each in self._said for name in names_in([each.text], what)}

    def await_text(self, text: str, seconds: float = 60) -> Said:
        said: Said = wait_until(lambda: next((each for each in self.said if text in each.text), None), f"a line says {text!r}", seconds)
        return said

    def await_end(self, name: str, what: str, seconds: float = 60) -> float:
        """Wait until a line says ``what`` of a server, such as ``stop done``; return its time."""
        return float(wait_until(lambda: self.ends(what).get(name), f"a line says {name} {what}", seconds))

    def finish(self) -> Ran:
        ran = self.going.finish()
        self._thread.join(10)
        return ran

    def _read(self) -> None:
        going = True
        while going:
            going = self.going.is_going()
            moment = self.now()
            # Only whole lines, of either stream.
            text = "".join(stream[: stream.rfind("\n") + 1] for stream in (self.going.stdout, self.going.stderr))
            for host, words in progress_in(text)[len(self._said) :]:
                self._said.append(Said(moment, host, words))
            time.sleep(_LOOK_SECONDS)


def progress_in(text: str) -> list[tuple[str, str]]:
    """Return the host and text of each progress line in an output."""
    return [(found["host"], found["text"]) for found in _PROGRESS.finditer(text)]


def names_in(texts: Sequence[str], what: str) -> list[str]:
    """Return the names in lines that say ``what``, such as ``stop done``: single lines and summaries, with repetitions."""
    found: list[str] = []
    for text in texts:
        if alone := re.match(rf"(\S+) {what}\b(?! \()", text):
            found.append(alone[1])
        found += [name for names in re.findall(rf"\d+ {what} \(([^)]*)\)", text) for name in names.split(", ")]
    return found


def play(*tasks: Mapping[str, Any], **keywords: object) -> Path:
    """Write a playbook of one play on all nodes; return its path."""
    path = current().file("play.yml")
    whole = {"name": "Play", "hosts": "nodes", "gather_facts": False, **keywords, "tasks": list(tasks)}
    path.write_text(json.dumps([whole]))
    return path


def power(action: str, servers: Sequence[Definition] | str, **options: Any) -> dict[str, Any]:
    """Return a task that acts on servers. An option that ends with ``_`` becomes a keyword of the task."""
    named = servers if isinstance(servers, str) else [uuid_of(each) for each in servers]
    keywords = {name.rstrip("_"): value for name, value in options.items() if name.endswith("_")}
    arguments = {name: value for name, value in options.items() if not name.endswith("_")}
    return {"name": "Power", "fleet.power.server_power": {"server": named, "action": action, **arguments}, **keywords}


def lasting(value: Any) -> Any:
    """Return the part of a result that two runs of the same action share."""
    if isinstance(value, dict):
        return {name: lasting(each) for name, each in value.items() if name not in _PASSING}
    if isinstance(value, list):
        return [lasting(each) for each in value]
    return value


def only_result(ran: Ran) -> dict[str, Any]:
    assert len(ran.results) == 1, ran.output
    result: dict[str, Any] = ran.results[0]["result"]
    return result


# ----- the node


def queued(count: int = 10) -> list[Definition]:
    """Return servers that need three seconds each to stop."""
    return [server(f"s{number:02}", STOP_SECONDS=3) for number in range(count)]


@contextlib.contextmanager
def cut(node: Node, seconds: float) -> Iterator[None]:
    """Cut a node off for the block, and for ``seconds`` at least."""
    node.faults.cut()
    until = time.monotonic() + seconds
    try:
        yield
        time.sleep(max(0.0, until - time.monotonic()))
    finally:
        node.faults.join()


def begun(node: Node, servers: Sequence[Definition], action: str = "stop") -> dict[str, float]:
    """Return when an action began on each server, by name, from the node's journal. It works on a node that is cut off."""
    pid = (home() / node.name / "init.pid").read_text().strip()
    asked = ["nsenter", "--target", pid, "--mount", "/usr/bin/python3", "-c", _READ_JOURNAL, action]
    rows = json.loads(subprocess.run(asked, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True).stdout)
    moments = {uuid: at for uuid, at, outcome in rows if at and outcome not in ("skipped", "cancelled")}
    known = {name_of(each): moments.get(uuid_of(each)) for each in servers}
    return {name: datetime.fromisoformat(at).timestamp() for name, at in known.items() if at}


def settled(node: Node, servers: Sequence[Definition], action: str = "stop", quiet: float = 4, seconds: float = 150) -> dict[str, float]:
    """Wait until no action runs on a node for ``quiet`` seconds, and return `begun`."""
    deadline = time.monotonic() + seconds
    since, before = time.monotonic(), begun(node, servers, action)
    while time.monotonic() - since < quiet:
        assert time.monotonic() < deadline, f"actions still run: {before}"
        time.sleep(0.3)
        now = begun(node, servers, action)
        if now != before or any(holder_of(node, each) for each in servers):
            since, before = time.monotonic(), now
    return before


def name_of(definition: Definition) -> str:
    return str(definition["settings"]["meta"]["name"])


def pythons(node: Node) -> dict[int, bool]:
    """Return the Python processes of a node by their id there, and whether each leads a session. Works without a connection."""
    found = {}
    for entry in (node.root / "proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            command, rest = (entry / "stat").read_text().partition("(")[2].rsplit(")", 1)
            fields = rest.split()
            if command.startswith("python3") and fields[0] != "Z":
                # This file system shows the ids of the node's own namespace.
                found[int(entry.name)] = fields[3] == entry.name
    return found


def the_job(node: Node) -> int:
    """Return the process id of a node's job, which leads a session."""
    return min(pid for pid, leads in pythons(node).items() if leads)


def await_poll(node: Node) -> None:
    """Wait for a poll of the job: a second Python process besides the job."""
    wait_until(lambda: len(pythons(node)) > 1, "a poll is under way", 30)


def await_gap(node: Node) -> None:
    await_poll(node)
    wait_until(lambda: len(pythons(node)) == 1, "a poll has been answered", 30)


def await_hold(node: Node, definition: Definition) -> None:
    """Wait until the action stops a server, soon after the module's start."""
    wait_until(lambda: phase_of(node, definition) == "stop", "the server is being stopped", 60)
