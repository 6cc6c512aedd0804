# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power cuts at moments that a seed decides, and what must hold after the next boot."""

from __future__ import annotations

import contextlib
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
from ansible_collections.fleet.power.tests.fleet.supervised import act, crash, facts

from .machine import Machine

#: Longest that a machine may take to bring its servers back, or a module to end, on a loaded machine.
PATIENCE = 180.0
#: How long after it was told an action may be cut off, and how long one may go on whose end nobody waits for.
AFTER_SECONDS, WITHIN_SECONDS = 2.0, 5.0
GOOD = ("done", "unchanged")
#: What is a fault of a machine's files, a line each.
LOOK = """
import glob, json, sqlite3
for path in glob.glob("/etc/fleet-power/servers/*"):
    try:
        json.load(open(path))
    except ValueError as error:
        print(f"{path} is no definition: {error}")
journal = sqlite3.connect("/var/lib/fleet-power/journal.sqlite")
for line in journal.execute("PRAGMA integrity_check"):
    if line != ("ok",):
        print("the journal is damaged:", *line)
"""
#: Writes the record of a rolling run again and again, and says after each time which it was.
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


@dataclass
class Story:
    """One cut: what was acted on, what was told of it before, and what was wrong after the boot."""

    kind: str
    definition: dict[str, Any]
    #: What its server is meant to be once its action has ended well; None where no server is meant.
    up: bool | None = None
    #: The entry that reached the test before the cut; empty: nothing did.
    told: dict[str, Any] = field(default_factory=dict)
    #: Looks after the boot, beside what is looked at after each.
    more: list[Callable[[], Iterator[str]]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def is_told(self) -> bool:
        """Tell whether a good end was told."""
        return self.told.get("outcome") in GOOD


class Cuts:
    """A machine with servers, and all cuts of its power."""

    def __init__(self, machine: Machine, seed: int) -> None:
        self._machine = machine
        self._seed = seed
        self._chance = random.Random(seed)
        self._usual = WITHIN_SECONDS
        self._stories: list[Story] = []
        # It is meant to be up long before any cut, and is the last that a boot brings back.
        self._witness, self._game = server("witness", priority=900), server("game", priority=10, STOP_SECONDS=0.5)
        installed(machine, self._witness, self._game, node_python="none")
        package = collection_root().parents[2]
        with subprocess.Popen(["tar", "-C", str(package), "-c", "ansible_collections"], stdout=subprocess.PIPE) as packed:
            command = f"mkdir -p {CONTROLLER} /var/lib/runs && tar -C {CONTROLLER} -x"
            subprocess.run([*machine.ssh_words(), command], stdin=packed.stdout, check=True)
        act(machine, "start", self._witness, self._game)
        machine.ssh("sync")

    def faults(self, kind: str) -> list[str]:
        """What did not hold after the cuts of a kind."""
        return [f"seed {self._seed}: {fault}" for story in self._stories if story.kind == kind for fault in story.faults]

    def summary(self, kind: str) -> str:
        """The cuts of a kind, counted."""
        of_kind = [story for story in self._stories if story.kind == kind]
        told, held = sum(story.is_told for story in of_kind), sum(not story.faults for story in of_kind)
        return f"seed {self._seed}: {kind}: {len(of_kind)} cuts, {told} after a good end was told; after {held} of them all held"

    def cut(self, kind: str, *, told: bool) -> None:
        """Act, cut the power at a random moment, after its end was told or at any, boot, and look."""
        begun: dict[str, Callable[[bool], Story]] = {"crash": self._crash, "accepted": self._accepted, "record": self._record}
        story = begun[kind](told) if kind in begun else self._act(kind, told)
        self._stories.append(story)
        self._machine.boot()
        with self._in(story):
            self._look(story)

    @contextlib.contextmanager
    def _in(self, story: Story) -> Iterator[None]:
        try:
            yield
        except AssertionError as error:
            story.faults.append(f"{self._name(story)}: {str(error).splitlines()[0]}")

    def _name(self, story: Story) -> str:
        number = [each for each in self._stories if each.kind == story.kind].index(story) + 1
        return f"{story.kind} {number}, told {story.told.get('outcome', 'nothing')}"

    # ----- before the cut

    def _act(self, kind: str, told: bool) -> Story:
        story = Story(kind, self._fresh() if kind == "start" else self._game, kind in ("start", "restart", "limit"))
        if kind == "limit":
            memory = self._game["settings"].setdefault("build", {}).get("memory_limit", 64) + 1
            self._game["settings"]["build"]["memory_limit"] = memory
            self._machine.define(self._game)
            story.more.append(lambda: self._limited(memory))
        self._machine.ssh("sync")
        # With an origin its entry names the operation.
        asked = {"server": [uuid_of(story.definition)], "origin": "cuts", **({} if kind == "limit" else {"action": kind})}
        began = time.monotonic()
        going = adhoc_begun([self._machine], "server_limits" if kind == "limit" else "server_power", asked)
        end = began + (PATIENCE if told else self._chance.uniform(0, self._usual))
        while not going.results() and time.monotonic() < end:
            time.sleep(0.01)
        if going.results():
            self._usual = time.monotonic() - began
            time.sleep(self._chance.uniform(0, AFTER_SECONDS))
        ended = going.results()
        self._machine.cut_power()
        going.kill()
        story.told = (ended[0]["result"].get("servers") or [{}])[0] if ended else {}
        return story

    def _crash(self, told: bool) -> Story:
        story = Story("crash", self._fresh(), True)
        uuid = uuid_of(story.definition)
        story.told = act(self._machine, "start", story.definition)["servers"][0]
        self._machine.ssh("sync")
        since = self._machine.started_at(uuid)
        crash(self._machine, story.definition)
        if told:
            wait_until(lambda: self._machine.is_up(uuid) and self._machine.started_at(uuid) != since, "it is kept up", PATIENCE)
        time.sleep(self._chance.uniform(0, AFTER_SECONDS if told else WITHIN_SECONDS))
        self._machine.cut_power()
        return story

    def _accepted(self, told: bool) -> Story:
        action = self._chance.choice(("start", "stop", "restart", "kill"))
        story = Story("accepted", self._fresh() if action == "start" else self._game, action in ("start", "restart"))
        self._machine.ssh("sync")
        status, headers, _unused = ask(self._machine, f"/api/servers/{uuid_of(story.definition)}/power", {"action": action})
        assert status == 202
        place = headers["Location"]
        if told:
            story.told = {**ask(self._machine, f"{place}?wait=120")[2], "operation": {"id": headers["X-Operation-Id"]}}
        time.sleep(self._chance.uniform(0, AFTER_SECONDS))
        self._machine.cut_power()
        story.more.append(lambda: self._answered(story, place, headers["X-Operation-Id"]))
        return story

    def _record(self, _told: bool) -> Story:
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
        story.told = {"outcome": "done"}
        story.more.append(lambda: self._recorded(words, said[-1]))
        return story

    def _fresh(self) -> dict[str, Any]:
        definition = server("fresh", priority=10, STOP_SECONDS=0.5)
        self._machine.define(definition)
        return definition

    # ----- after the boot

    def _look(self, story: Story) -> None:
        wait_until(lambda: self._machine.is_up(uuid_of(self._witness)), "the witness is back", PATIENCE)
        for more in story.more:
            story.faults += [f"{self._name(story)}: {fault}" for fault in more()]
        faults = self._machine.ssh(f"python3 -c {shlex.quote(LOOK)}").splitlines()
        story.faults += [f"{self._name(story)}: {fault}" for fault in faults]
        self._meant(story)
        uuid = uuid_of(story.definition)
        ended = act(self._machine, "start", story.definition)["servers"][0]
        assert ended["outcome"] in GOOD, f"the next start ended {ended}"
        assert self._machine.is_up(uuid), "the next start started nothing"
        if story.definition is not self._game:
            act(self._machine, "kill", story.definition)

    def _meant(self, story: Story) -> None:
        """The journal reads as told, and the server is what it is meant to be."""
        found = facts(self._machine, story.definition)[0]
        meant = (found["intent"] or {}).get("up")
        if story.told.get("operation"):
            read = [each["outcome"] for each in found["operations"] if each["id"] == story.told["operation"]["id"]]
            if read != [story.told["outcome"]]:
                story.faults.append(f"{self._name(story)}: the journal reads {read}")
        if story.is_told and story.up is not None:
            assert meant is story.up, f"it is meant to be {'up' if story.up else 'down'}, and its intent is {found['intent']}"
        if meant:
            wait_until(lambda: self._machine.is_up(uuid_of(story.definition)), "it is back as it is meant to be", PATIENCE)
        else:
            assert not self._machine.is_up(uuid_of(story.definition)), "it is up, and not meant to be"

    def _limited(self, memory: int) -> Iterator[str]:
        found = wait_until(lambda: self._machine.container(uuid_of(self._game)), "it has a container", PATIENCE)
        wait_until(lambda: self._machine.is_up(uuid_of(self._game)), "it is back", PATIENCE)
        has = found["HostConfig"]["Memory"] >> 20
        if has < memory:
            yield f"its memory is {has} MiB, and not {memory}"

    def _answered(self, story: Story, place: str, operation: str) -> Iterator[str]:
        """An accepted action is done, or said not to be; and what was told of it is told again."""

        def end() -> dict[str, Any] | None:
            with contextlib.suppress(OSError):
                status, _unused, found = ask(self._machine, f"{place}?wait=60")
                assert status == 200, f"the accepted action is not known: {status} {found}"
                return dict(found) if found["outcome"] else None
            return None

        ended = wait_until(end, "the accepted action has ended", PATIENCE)
        if story.told and story.told["outcome"] != ended["outcome"]:
            yield f"its end reads {ended['outcome']} {ended.get('code')}"
        if ended["outcome"] not in GOOD and ended.get("code") != "interrupted":
            yield f"it ended {ended['outcome']} {ended.get('code')}"
        story.told = {**ended, "operation": {"id": operation}}

    def _recorded(self, words: dict[str, Any], said: str) -> Iterator[str]:
        """The record of a run is whole, and no older than what was told."""
        begun, result = self._machine.ssh(f"python3 -c {shlex.quote(READ_RECORD % words)}").split()
        if said == "ended":
            if (begun, result) != ("none", "0a1b2c3d"):
                yield f"the run has ended, but its record is {begun} and its result {result}"
        elif begun == "none" and result == "none":
            yield f"{said} was told, and there is neither record nor result"
        elif begun != "none" and int(begun) < int(said):
            yield f"{said} was told, and the record says {begun}"
