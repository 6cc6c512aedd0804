# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Promises that hold for all actions on one server at any timing, checked against the requests and events of the engine."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .engine_proxy import Seen
from .lab import Lab

#: The longest difference between the engine's clock and ours, and the longest delay of an event.
_TOLERANCE = 0.1
#: Results have their times in whole milliseconds.
_MILLISECOND = 0.001
#: The longest time from the start of a container to the answer.
_ANSWER_SECONDS = 0.5
_START = re.compile(r"/containers/([0-9a-f]+)/start$")
_SUCCESS = (101, 200, 201, 204)


@dataclass
class Run:
    """A run of the server's container by the engine's events; ``owner`` is the process whose request began it."""

    container: str
    began: float
    ended: float = float("inf")
    owner: int = 0


@dataclass
class Act:
    """The work of one process: the action, its result (None after a kill of the process), and all its requests."""

    action: str
    pid: int
    result: dict[str, Any] | None
    requests: list[Seen] = field(default_factory=list)

    @property
    def asked_at(self) -> float:
        """The time of the request; for a killed process the time of its first request to the engine, a moment later."""
        if self.result is not None:
            return _seconds(self.result["operation"]["requested_at"])
        return self.requests[0].at if self.requests else float("inf")

    @property
    def ended_at(self) -> float:
        return float("inf") if self.result is None else _seconds(self.result["operation"]["ended_at"])

    @property
    def changes(self) -> list[Seen]:
        return [request for request in self.requests if request.changes]

    @property
    def succeeded(self) -> bool:
        return self.result is not None and self.result["outcome"] in ("done", "unchanged")

    def __str__(self) -> str:
        result = "killed" if self.result is None else f"{self.result['outcome']} {self.result.get('code', '')} {self.result.get('msg', '')}"
        sent = ", ".join(
            f"{seen.method} {seen.path.rpartition('containers/')[2][:60]} {seen.at:.3f} {seen.status}" for seen in self.changes
        )
        return f"{self.action} (pid {self.pid}, {self.asked_at:.3f} to {self.ended_at:.3f}): {result}: {sent}"


class Lives:
    """The starts and ends of one server's containers, from the engine's events."""

    def __init__(self, uuid: str) -> None:
        self._uuid = uuid
        self.runs: list[Run] = []

    def note(self, event: dict[str, Any]) -> None:
        actor = event["Actor"]
        if actor["Attributes"].get("name") != self._uuid:
            return
        moment = event["timeNano"] / 1e9
        if event["Action"] == "start":
            self.runs.append(Run(actor["ID"], moment))
        elif self.runs:
            self.runs[-1].ended = moment

    def since(self, moment: float, requests: Sequence[Seen]) -> list[Run]:
        """The runs since then, each with the process that requested it."""
        runs = [run for run in self.runs if run.began >= moment]
        for run in runs:
            run.owner = _owner(run, requests)
        return runs


def _owner(run: Run, requests: Sequence[Seen]) -> int:
    """The process whose request began a run: its answer came right after the start. 0 if there is no such answer."""
    began = {abs(seen.answered_at - run.began): seen.pid for seen in requests if seen.answered_at is not None and _starts(seen, run)}
    closest = min(began, default=float("inf"))
    return began[closest] if closest < _ANSWER_SECONDS else 0


def _starts(request: Seen, run: Run) -> bool:
    found = _START.search(request.path)
    return found is not None and found[1] == run.container and request.status == 204


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


@contextmanager
def lives_of(lab: Lab, uuid: str) -> Iterator[Lives]:
    import docker

    client = docker.APIClient(base_url=lab.docker_host, version="auto")
    events = client.events(decode=True, filters={"type": "container", "event": ["start", "die"]})
    lives = Lives(uuid)

    def watch() -> None:
        for event in events:
            lives.note(event)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lives
    finally:
        events.close()
        client.close()


def violations(acts: Sequence[Act], runs: Sequence[Run]) -> list[str]:
    checks: tuple[Callable[[Sequence[Act], Sequence[Run]], Iterator[str]], ...] = (_kills_won, _one_at_a_time, _results_are_true)
    return [found for check in checks for found in check(acts, runs)]


def _kills_won(acts: Sequence[Act], runs: Sequence[Run]) -> Iterator[str]:
    """After a successful kill, no run exists that an earlier request began."""
    asked = {act.pid: act.asked_at for act in acts}
    for kill in acts:
        if kill.action != "kill" or not kill.succeeded:
            continue
        for run in runs:
            earlier = asked.get(run.owner, float("-inf")) < kill.asked_at
            # A run from before the end of the kill may end a moment later, but no run begins after that end.
            if earlier and (run.ended > kill.ended_at + _TOLERANCE or run.began > kill.ended_at + _MILLISECOND):
                yield f"up after the {kill}: a run of pid {run.owner} from {run.began:.3f} to {run.ended:.3f}"


def _one_at_a_time(acts: Sequence[Act], _runs: Sequence[Run]) -> Iterator[str]:
    """The changes of two acts do not mix. Only a kill's first signal comes without the lock."""
    kills = {act.pid for act in acts if act.action == "kill"}
    changes = sorted((change for act in acts for change in act.changes), key=lambda change: change.at)
    order: list[int] = []
    for change in changes:
        if change.pid in kills and "/kill" in change.path:
            continue
        if not order or order[-1] != change.pid:
            order.append(change.pid)
    if len(order) != len(set(order)):
        yield f"two acts at once: changes by pids {order}"


def _staged(change: Seen, act: Act) -> bool:
    """Whether a change is to a new container under a temporary name, including its removal if the act gave it up."""
    given_up = change.method == "DELETE" and not any("/rename" in other.path for other in act.changes)
    return "/containers/create" in change.path or (given_up and any("/containers/create" in other.path for other in act.changes))


def _results_are_true(acts: Sequence[Act], runs: Sequence[Run]) -> Iterator[str]:
    for act in acts:
        result = act.result
        if result is None or result.get("code") == "engine_unreachable":
            # Without an answer an action does not know the effect of its request.
            continue
        altered = any(change.status in _SUCCESS for change in act.changes if not _staged(change, act))
        if altered != result["changed"]:
            yield f"changed is {result['changed']}: {act}"
        if result["outcome"] in ("unchanged", "refused", "skipped") and altered:
            yield f"altered something: {act}"
        if result["outcome"] == "done" and act.action in ("start", "restart") and not any(run.owner == act.pid for run in runs):
            yield f"started nothing: {act}"
        if act.action in ("stop", "kill") and act.succeeded:
            outlived = [run for run in runs if act.changes and run.began < act.changes[0].at and run.ended > act.ended_at + _TOLERANCE]
            if outlived:
                yield f"left up what it found ({outlived}): {act}"
