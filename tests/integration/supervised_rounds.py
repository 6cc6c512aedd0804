# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rounds of crashes, actions and Docker commands on several servers, while the supervisor sometimes dies. The acts decide the result."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import docker.errors
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import engine_time
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import EndedRun

from .lab import Lab
from .supervisors import SHUTDOWN_SECONDS, Supervising, rows_of

_OURS = ("start", "stop", "restart", "kill")
_THEIRS = ("docker stop", "docker kill", "docker restart", "docker start")
_ACTS = ("crash", "crash", "crash", *_OURS, *_THEIRS)
#: The engine sends the event of an end some moments after its own FinishedAt.
_LATE_SECONDS = 1.0
#: So short a run may end, and the next one begin, before the supervisor looks.
_UNSEEN_SECONDS = 0.5


@dataclass
class Act:
    """One act on a server, with its begin, end (seconds since the epoch) and outcome."""

    kind: str
    began: float
    ended: float = 0.0
    outcome: str = ""

    def __str__(self) -> str:
        return f"{self.began:.3f}-{self.ended:.3f} {self.kind} {self.outcome}"


@dataclass
class Life:
    container: str
    began: float
    ended: float = 0.0
    signalled: bool = False


@dataclass
class Story:
    """One server: its acts and runs. ``should_be_up``: None is open. ``intent``: the intent of our last action."""

    uuid: str
    dice: random.Random
    should_be_up: bool | None = True
    intent: bool | None = True
    acts: list[Act] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)


class Rounds:
    """Servers with one supervisor; listens to the events of their engine."""

    def __init__(self, lab: Lab, supervising: Supervising, uuids: list[str], seed: int) -> None:
        self._lab, self._supervising = lab, supervising
        self.stories = {uuid: Story(uuid, random.Random(f"{seed} {number}")) for number, uuid in enumerate(uuids)}
        self._chaos = random.Random(seed)
        self._blind: list[tuple[float, float]] = []
        for story in self.stories.values():
            found = lab.container(story.uuid)
            assert found is not None
            story.lives.append(Life(found["Id"], _moment(found["State"]["StartedAt"])))
        self._events = lab.client.events(since=time.time(), filters={"type": ["container"]}, decode=True)
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        self._events.close()

    def play(self) -> None:
        """Play a round on all servers. The supervisor may die during it."""
        threads = [threading.Thread(target=self._play, args=(story,)) for story in self.stories.values()]
        for thread in threads:
            thread.start()
        if self._chaos.random() < 0.5:
            time.sleep(self._chaos.uniform(0, 1.5))
            self._kill_supervisor()
        for thread in threads:
            thread.join()

    def _kill_supervisor(self) -> None:
        began = time.time()
        self._supervising.kill()
        time.sleep(self._chaos.choice((0.0, 0.3, 1.0)))
        self._supervising.begin_again()
        self._supervising.await_ready()
        self._blind.append((began, time.time()))

    def _play(self, story: Story) -> None:
        for _unused in range(story.dice.choice((1, 2, 3))):
            kind = story.dice.choice(_ACTS)
            act = Act(kind, time.time())
            story.acts.append(act)
            _ACTORS[kind](self._lab, story, act)
            act.ended = time.time()
            time.sleep(story.dice.choice((0.0, 0.05, 0.3, 0.8)))

    def _listen(self) -> None:
        with contextlib.suppress(Exception):
            for event in self._events:
                story = self.stories.get(event["Actor"]["Attributes"].get("fleet.power.server", ""))
                if story is not None:
                    _note(story, event)

    def await_quiet(self) -> None:
        """Wait until every ended run has a verdict and no start is due."""
        deadline = time.monotonic() + 2 * SHUTDOWN_SECONDS
        while not all(self._is_quiet(story) for story in self.stories.values()):
            if time.monotonic() > deadline:
                return
            time.sleep(0.3)
        time.sleep(1.0)

    def _is_quiet(self, story: Story) -> bool:
        rows, up = rows_of(self._lab, story.uuid), self._lab.is_up(story.uuid)
        if any(row.due or row.verdict.value == "pending" for row in rows):
            return False
        found = self._lab.container(story.uuid)
        newest = None if found is None else (found["Id"], found["State"]["StartedAt"])
        return up or any((row.run.container, row.run.started_at) == newest for row in rows)

    def violations(self) -> Iterator[str]:
        for story in self.stories.values():
            rows, up = rows_of(self._lab, story.uuid), self._lab.is_up(story.uuid)
            found = [*self._of_state(story, rows, up), *self._of_rows(story, rows)]
            if found:
                found += [f"the supervisor was dead {began:.3f}-{ended:.3f}" for began, ended in self._blind]
                shown = [
                    f"{row.run.container[:8]} {row.run.started_at} {row.verdict.value} {row.exit_code} {row.due} {row.code}" for row in rows
                ]
                yield "\n  ".join([story.uuid, *found, *map(str, story.acts), *map(str, story.lives), *shown])

    def _of_state(self, story: Story, rows: list[EndedRun], up: bool) -> Iterator[str]:
        if story.should_be_up is True and not up:
            yield "down although it should be up"
        if story.should_be_up is False and up:
            yield "up although an act stopped it"
        if any(row.due for row in rows):
            yield "a start is still due"

    def _of_rows(self, story: Story, rows: list[EndedRun]) -> Iterator[str]:
        """Each ended run must have one row. If only acts of one kind came close to the end, the verdict must fit them."""
        for number, life in enumerate(story.lives):
            if not life.ended:
                continue
            later = story.lives[number + 1].began if number + 1 < len(story.lives) else float("inf")
            mine = [row for row in rows if _life_of(row, story.lives) is life]
            if len(mine) != 1:
                # A run that ends before the supervisor sees it has no identity: the engine's events lack its StartedAt.
                unseen = life.ended - life.began < _UNSEEN_SECONDS and life.signalled
                if mine or not (unseen or any(blind[0] < later and blind[1] > life.began for blind in self._blind)):
                    yield f"{len(mine)} rows for the run that began at {life.began:.3f}"
                continue
            about = {act.kind for act in story.acts if act.began - 0.2 <= life.ended <= (act.ended or float("inf")) + _LATE_SECONDS}
            if about == {"crash"} and mine[0].verdict.value != "crashed":
                yield f"a crash has the verdict {mine[0].verdict.value}"
            # If our kill comes right after the end, its verdict may win.
            killed = any(act.kind == "kill" and 0 <= act.began - life.ended < SHUTDOWN_SECONDS for act in story.acts)
            theirs = ("stopped_externally", "ended_unobserved", *(("stopped",) if killed else ()))
            if about and about <= set(_THEIRS) and mine[0].verdict.value not in theirs:
                yield f"a stop at the engine has the verdict {mine[0].verdict.value}"
            if about and about <= set(_OURS) and mine[0].verdict.value not in ("stopped", "restarting"):
                yield f"our action has the verdict {mine[0].verdict.value}"


def _life_of(row: EndedRun, lives: list[Life]) -> Life | None:
    """Return the run of a row. The engine's event of a start comes after its StartedAt."""
    began = _moment(row.run.started_at)
    mine = [life for life in lives if life.container == row.run.container and abs(life.began - began) < _LATE_SECONDS]
    return min(mine, key=lambda life: abs(life.began - began), default=None)


def _crash(lab: Lab, story: Story, act: Act) -> None:
    found = lab.container(story.uuid)
    if found is not None and found["State"]["Running"]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(found["State"]["Pid"], signal.SIGKILL)
            act.outcome = "sent"
            if not story.intent:
                # Only the engine started this run: after a crash it stays down.
                story.should_be_up = False if story.intent is False else None


def _act(lab: Lab, story: Story, act: Act) -> None:
    with lab.actor(act.kind, story.uuid, wait_seconds=30, stop_timeout=2) as actor:
        if story.dice.random() < 0.15:
            time.sleep(story.dice.uniform(0.3, 1.0))
            actor.kill()
            act.outcome, story.should_be_up, story.intent = "killed", None, None
            return
        result = actor.result()
    act.outcome = f"{result['outcome']} {result.get('code', '')}"
    if result["outcome"] in ("done", "unchanged"):
        story.should_be_up = story.intent = act.kind in ("start", "restart")
    else:
        story.should_be_up = None


def _docker(lab: Lab, story: Story, act: Act) -> None:
    verb = act.kind.partition(" ")[2]
    calls: dict[str, Callable[[], Any]] = {
        "stop": lambda: lab.client.stop(story.uuid, timeout=1),
        "kill": lambda: lab.client.kill(story.uuid),
        "restart": lambda: lab.client.restart(story.uuid, timeout=1),
        "start": lambda: lab.client.start(story.uuid),
    }
    before = len(story.lives), sum(life.signalled for life in story.lives)
    try:
        calls[verb]()
    except docker.errors.APIError as error:
        act.outcome = str(error.explanation)[:60]
        story.should_be_up = None
        return
    time.sleep(0.3)
    if verb in ("start", "restart"):
        story.should_be_up = True if story.intent else None
    elif (len(story.lives), sum(life.signalled for life in story.lives)) != before:
        story.should_be_up = False
        act.outcome = "hit"


_ACTORS: dict[str, Callable[[Lab, Story, Act], None]] = {
    "crash": _crash,
    **dict.fromkeys(_OURS, _act),
    **dict.fromkeys(_THEIRS, _docker),
}


def _note(story: Story, event: dict[str, Any]) -> None:
    at, container = event["timeNano"] / 1e9, event["Actor"]["ID"]
    if event["Action"] == "start":
        story.lives.append(Life(container, at))
    for life in story.lives:
        if life.container == container and not life.ended:
            if event["Action"] == "kill":
                life.signalled = True
            elif event["Action"] == "die":
                life.ended = at


def _moment(text: str) -> float:
    found = engine_time(text)
    return 0.0 if found is None else found.timestamp()
