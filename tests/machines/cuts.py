# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power cuts at random moments of a seed, and the checks after the next boot."""

from __future__ import annotations

import contextlib
import json
import random
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.fleet.power.tests.fleet.lab import adhoc_begun, server, uuid_of, wait_until
from ansible_collections.fleet.power.tests.fleet.scratch import collection_root, current
from ansible_collections.fleet.power.tests.fleet.shim import ask, installed
from ansible_collections.fleet.power.tests.fleet.supervised import act, crash

from .machine import Machine

#: The longest wait for servers after a boot, or for a module's end, on a loaded machine.
PATIENCE = 180.0
#: The longest times to the cut: from a reported end, and from a crash.
AFTER_SECONDS, WITHIN_SECONDS = 2.0, 5.0
GOOD = ("done", "unchanged")
UP = ("starting", "running")
#: Prints the faults in a machine's files, and the intent of a server from the journal.
LOOK = """
import glob, json, sqlite3, sys
faults = []
for path in glob.glob("/etc/fleet-power/servers/*"):
    try:
        json.load(open(path))
    except ValueError as error:
        faults.append(f"{path} is no definition: {error}")
journal = sqlite3.connect("/var/lib/fleet-power/journal.sqlite")
for line in journal.execute("PRAGMA integrity_check"):
    if line != ("ok",):
        faults.append(f"the journal is damaged: {line[0]}")
intent = journal.execute("SELECT up FROM intents WHERE uuid = ?", sys.argv[1:]).fetchone()
print(json.dumps({"faults": faults, "up": bool(intent[0]) if intent else None}))
"""
#: Writes the record of a rolling run repeatedly, and prints its number each time.
RECORD = """
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run_files import RunFiles
record = Record(run="0a1b2c3d", action="restart", began_at="2026-01-01T00:00:00.000Z", given={})
files = RunFiles({"resume_file": "/var/lib/runs/%(name)s.json", "result_file": "/var/lib/runs/%(name)s-result.json"}, "/tmp", check=False)
files.own = files.begin(record, None)
for record.begun in range(1, %(count)d):
    files.save(record)
    print(record.begun, flush=True)
files.write_result({"run": record.run})
files.end(record, None)
print("ended", flush=True)
"""
READ_RECORD = """
import json, os
path = "/var/lib/runs/%(name)s.json"
print(json.load(open(path))["begun"] if os.path.exists(path) else "none")
path = "/var/lib/runs/%(name)s-result.json"
print(json.load(open(path))["run"] if os.path.exists(path) else "none")
"""
CONTROLLER = "/usr/local/lib/controller"


@dataclass(eq=False)
class Story:
    kind: str
    definition: dict[str, Any]
    #: The intent after a good end of the action; None without an intent to check.
    up: bool | None = None
    #: The action's result before the cut; empty without a result.
    report: dict[str, Any] = field(default_factory=dict)
    #: Whether the result before the cut was good.
    was_reported: bool = False
    #: Additional checks after the boot.
    more: list[Callable[[], Iterator[str]]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def is_reported(self) -> bool:
        return self.report.get("outcome") in GOOD


class Cuts:
    def __init__(self, machine: Machine, seed: int) -> None:
        self._machine = machine
        self._seed = seed
        self._chance = random.Random(seed)
        self._stories: list[Story] = []
        # Its intent is older than any cut, and it starts last after a boot.
        self._witness, self._game = server("witness", priority=900), server("game", priority=10, STOP_SECONDS=0.5)
        installed(machine, self._witness, self._game, node_python="none")
        machine.unpack(CONTROLLER, "-C", str(collection_root().parents[2]), "-c", "ansible_collections")
        machine.ssh("mkdir -p /var/lib/runs")
        began = time.monotonic()
        act(machine, "start", self._witness, self._game)
        #: The seconds of the last action, from start to result.
        self._usual = time.monotonic() - began
        machine.ssh("sync")

    def faults(self, kind: str) -> list[str]:
        return [f"seed {self._seed}: {fault}" for story in self._stories if story.kind == kind for fault in story.faults]

    def summary(self, kind: str) -> str:
        of_kind = [story for story in self._stories if story.kind == kind]
        reported, held = sum(story.was_reported for story in of_kind), sum(not story.faults for story in of_kind)
        return f"seed {self._seed}: {kind}: {len(of_kind)} cuts, {reported} after a good end; {held} without faults"

    def cut(self, kind: str, *, reported: bool) -> None:
        """Act, cut the power at a random moment (after the reported end if ``reported``), boot, and check."""
        begun: dict[str, Callable[[bool], Story]] = {"crash": self._crash, "accepted": self._accepted, "record": self._record}
        story = begun[kind](reported) if kind in begun else self._act(kind, reported)
        story.was_reported = story.is_reported
        self._stories.append(story)
        self._machine.boot()
        with self._in(story):
            self._look(story)
        print(f"{self._name(story)}: {'; '.join(story.faults) or 'no fault'}")

    @contextlib.contextmanager
    def _in(self, story: Story) -> Iterator[None]:
        try:
            yield
        except AssertionError as error:
            story.faults.append(f"{self._name(story)}: {str(error).splitlines()[0]}")

    def _name(self, story: Story) -> str:
        number = [each for each in self._stories if each.kind == story.kind].index(story) + 1
        return f"{story.kind} {number}, reported {story.report.get('outcome', 'nothing')}"

    # ----- before the cut

    def _act(self, kind: str, reported: bool) -> Story:
        story = Story(kind, self._fresh() if kind == "start" else self._game, kind in ("start", "restart", "limit"))
        if kind == "limit":
            memory = self._game["settings"].setdefault("build", {}).get("memory_limit", 64) + 1
            self._game["settings"]["build"]["memory_limit"] = memory
            self._machine.define(self._game)
            story.more.append(lambda: self._limited(memory))
        self._machine.ssh("sync")
        # With an origin, the result names the operation.
        asked = {"server": [uuid_of(story.definition)], "origin": "cuts", **({} if kind == "limit" else {"action": kind})}
        began = time.monotonic()
        going = adhoc_begun([self._machine], "server_limits" if kind == "limit" else "server_power", asked)
        end = began + (PATIENCE if reported else self._usual * self._chance.uniform(0.4, 1.2))
        while not going.results() and time.monotonic() < end:
            time.sleep(0.01)
        if going.results():
            self._usual = time.monotonic() - began
            time.sleep(self._chance.uniform(0, AFTER_SECONDS))
        ended = going.results()
        self._machine.cut_power()
        going.kill()
        story.report = (ended[0]["result"].get("servers") or [{}])[0] if ended else {}
        return story

    def _crash(self, reported: bool) -> Story:
        story = Story("crash", self._fresh(), True)
        uuid = uuid_of(story.definition)
        assert self._ended(self._accept(uuid, "start")[0])["outcome"] == "done"
        self._machine.ssh("sync")
        since = self._machine.started_at(uuid)
        crash(self._machine, story.definition)
        if reported:
            wait_until(lambda: self._machine.is_up(uuid) and self._machine.started_at(uuid) != since, "started again", PATIENCE)
            story.report = {"outcome": "done"}
        time.sleep(self._chance.uniform(0, AFTER_SECONDS if reported else WITHIN_SECONDS))
        self._machine.cut_power()
        return story

    def _accepted(self, reported: bool) -> Story:
        action = self._chance.choice(("start", "stop", "restart", "kill"))
        story = Story("accepted", self._fresh() if action == "start" else self._game, action in ("start", "restart"))
        self._machine.ssh("sync")
        place, operation = self._accept(uuid_of(story.definition), action)
        if reported and place:
            story.report = {**self._ended(place), "operation": {"id": operation}}
        time.sleep(self._chance.uniform(0, AFTER_SECONDS))
        self._machine.cut_power()
        if place:
            story.more.append(lambda: self._answered(story, place, operation))
        return story

    def _record(self, _reported: bool) -> Story:
        story = Story("record", self._game)
        words = {"name": f"run-{self._chance.randrange(10**9)}", "count": self._chance.randrange(20, 400)}
        path = current().file("record")
        with path.open("w") as file:
            command = f"PYTHONPATH={CONTROLLER} exec python3 -c {shlex.quote(RECORD % words)}"
            child = subprocess.Popen([*self._machine.ssh_words(), command], stdin=subprocess.DEVNULL, stdout=file)
        wait_until(path.read_text, "the run has begun", PATIENCE)
        time.sleep(self._chance.uniform(0, AFTER_SECONDS))
        self._machine.cut_power()
        child.kill()
        child.wait()
        said = [line.strip() for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        story.report = {"outcome": "done"}
        story.more.append(lambda: self._recorded(words, said[-1]))
        return story

    def _fresh(self) -> dict[str, Any]:
        definition = server("fresh", priority=10, STOP_SECONDS=0.5)
        self._machine.define(definition)
        return definition

    # ----- after the boot

    def _look(self, story: Story) -> None:
        uuid = uuid_of(story.definition)
        wait_until(lambda: self._state(uuid_of(self._witness)) in UP, "the witness is back", PATIENCE)
        for more in story.more:
            story.faults += [f"{self._name(story)}: {fault}" for fault in more()]
        found = json.loads(self._machine.ssh(f"python3 -c {shlex.quote(LOOK)} {uuid}"))
        story.faults += [f"{self._name(story)}: {fault}" for fault in found["faults"]]
        if story.report.get("operation"):
            _status, read = self._ask(f"/api/servers/{uuid}/operations/{story.report['operation']['id']}")
            if read.get("outcome") != story.report["outcome"]:
                story.faults.append(f"{self._name(story)}: the journal reads {read.get('outcome')} {read.get('code')}")
        if story.is_reported and story.up is not None and found["up"] is not story.up:
            story.faults.append(f"{self._name(story)}: the intent to be up is {found['up']}")
        if found["up"]:
            wait_until(lambda: self._state(uuid) in UP, "the server should be up, and is back", PATIENCE)
        assert self._machine.is_up(uuid) is bool(found["up"]), "the server's state contradicts its intent"
        ended = self._ended(self._accept(uuid, "start")[0])
        assert ended["outcome"] in GOOD, f"the next start ended {ended}"
        assert self._machine.is_up(uuid), "the next start did not start the server"
        if story.definition is not self._game:
            self._accept(uuid, "kill")
            wait_until(lambda: not self._machine.is_up(uuid), "the killed server is down", PATIENCE)

    def _ask(self, path: str, body: dict[str, object] | None = None) -> tuple[int, dict[str, Any]]:
        """Send a request to the HTTP shim, which boots with the machine; return status and body, or 0 without an answer."""
        with contextlib.suppress(OSError):
            status, _headers, found = ask(self._machine, path, body)
            return status, found if isinstance(found, dict) else {}
        return 0, {}

    def _state(self, uuid: str) -> str:
        return str(self._ask(f"/api/servers/{uuid}")[1].get("state"))

    def _accept(self, uuid: str, action: str) -> tuple[str, str]:
        """Send an action that is accepted; return the URL of its operation, and its id. A kill on a slow disk has neither."""
        status, headers, _unused = ask(self._machine, f"/api/servers/{uuid}/power", {"action": action})
        assert status == 202, f"{action} is not accepted: {status}"
        assert action == "kill" or headers["Location"], f"{action} is accepted without an operation"
        return headers.get("Location", ""), headers.get("X-Operation-Id", "")

    def _ended(self, place: str) -> dict[str, Any]:
        """Wait for the end of an accepted action, and return its operation."""

        def end() -> dict[str, Any] | None:
            status, found = self._ask(f"{place}?wait=60")
            assert status in (0, 200), f"the accepted action is unknown: {status} {found}"
            return found if found.get("outcome") else None

        return dict(wait_until(end, "the accepted action has ended", PATIENCE))

    def _limited(self, memory: int) -> Iterator[str]:
        found = wait_until(lambda: self._machine.container(uuid_of(self._game)), "the server has a container", PATIENCE)
        wait_until(lambda: self._machine.is_up(uuid_of(self._game)), "the server is back", PATIENCE)
        has = found["HostConfig"]["Memory"] >> 20
        if has < memory:
            yield f"the memory is {has} MiB, not {memory}"

    def _answered(self, story: Story, place: str, operation: str) -> Iterator[str]:
        """An accepted action ends as done or interrupted, and with the outcome reported before the cut."""
        ended = self._ended(place)
        if story.report and story.report["outcome"] != ended["outcome"]:
            yield f"the operation reads {ended['outcome']} {ended.get('code')}"
        if ended["outcome"] not in GOOD and ended.get("code") != "interrupted":
            yield f"the operation ended {ended['outcome']} {ended.get('code')}"
        story.report = {**ended, "operation": {"id": operation}}

    def _recorded(self, words: dict[str, Any], said: str) -> Iterator[str]:
        """The record of a run is whole, and not older than the last printed number."""
        begun, result = self._machine.ssh(f"python3 -c {shlex.quote(READ_RECORD % words)}").split()
        if said == "ended":
            if (begun, result) != ("none", "0a1b2c3d"):
                yield f"the run has ended, but its record is {begun} and its result {result}"
        elif begun == "none" and result == "none":
            yield f"{said} was printed, but record and result are missing"
        elif begun != "none" and int(begun) < int(said):
            yield f"{said} was printed, but the record says {begun}"
