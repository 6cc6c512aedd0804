# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follows a job: shows its news as it comes, and returns its result as the task's.

The controller asks the node again and again, and each answer waits for news. So a task reports while it runs, and survives a lost
connection.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible_collections.fleet.power.plugins.module_utils._job import ABSENT, FOLLOW, KEPT_SECONDS, VARIABLE, asked_for, asking
from ansible_collections.fleet.power.plugins.plugin_utils._progress import TaskProgress

#: Seconds that an action may take before it becomes a job, and that its node may be out of reach.
AFTER_SECONDS = 2.0
LOST_SECONDS = 60.0
_RETRY_SECONDS = 1.0
#: With these messages of ssh there never was a connection, so nothing has begun. ssh may end a connection without a message.
_NEVER_THERE = (
    *("connect to host", "Could not resolve", "Permission denied", "Connection refused", "No route to host", "Host key verification"),
    *("kex_exchange_identification", "Too many authentication failures", "no matching host key", "Bad owner or permissions"),
)
#: Keys of a result that needs no second request. Ansible acts on other keys, such as ``add_host`` and ``_ansible_…``, and removes them from
#: a module's result: with them a node could take over other nodes and the controller.
_PLAIN_KEYS = frozenset(("action", "changed", "code", "diff", "failed", "invocation", "msg", "servers", "summary"))

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class NodeOfTask:
    """The node of a task, as an action plugin uses it. Each call raises `AnsibleConnectionFailure`."""

    #: Runs a command line; returns its output.
    run: Callable[[str], str]
    #: Returns the result of a job by its id.
    fetch: Callable[[str], dict[str, Any]]
    #: Runs the module, with the text in its environment. Repeated calls begin the job only once.
    begin: Callable[[str], dict[str, Any]]
    #: Closes the connection; the next call makes a new one.
    disconnect: Callable[[], None]
    give_up: Callable[[str], object]


def new_job() -> str:
    """Return a new id of a job."""
    return secrets.token_hex(16)


@contextlib.contextmanager
def asking_to_follow(environment: list[Any], text: str) -> Iterator[None]:
    """Put the request for a job into the module's environment."""
    environment.append({VARIABLE: text})
    try:
        yield
    finally:
        environment.remove({VARIABLE: text})


def was_lost(error: AnsibleConnectionFailure) -> bool:
    """Tell whether there may have been a connection, so that a module may have begun."""
    return not any(words in str(error) for words in _NEVER_THERE)


class Elapsed:
    """The time since its creation, by the clock with the larger value: one can be set, the other stops while the machine sleeps."""

    def __init__(self) -> None:
        self._began = time.monotonic(), time.time()

    @property
    def seconds(self) -> float:
        monotonic, wall = self._began
        return max(time.monotonic() - monotonic, time.time() - wall)


class JobFollower:
    def __init__(self, node: NodeOfTask, job: str, progress: TaskProgress, run_of_ansible: int) -> None:
        """``run_of_ansible`` is the process id of this worker's parent, from before the module ran."""
        self._node = node
        self._job = job
        self._progress = progress
        #: Since when the node is out of reach. An answer may take a minute; that is no silence.
        self._lost_since: float | None = None
        self._run_of_ansible = run_of_ansible
        #: Since when the job may exist.
        self._elapsed: Elapsed | None = None

    def result(self, followed: Mapping[str, Any]) -> dict[str, Any]:
        """Show the news of a job until it ends; return its result. Raises `AnsibleConnectionFailure` if the node stays out of reach."""
        offset = 0
        while True:
            news = self._patiently(lambda: self._news(followed, offset))  # noqa: B023
            if news is not None:
                self._progress.take(news["fleet_lines"])
                offset = news["fleet_offset"]
                if news["fleet_live"]:
                    continue
                plain = _plain_result(news.get("fleet_result"))
                if plain is not None:
                    return plain
            answer = self._patiently(lambda: self._node.fetch(self._job))
            if answer.get(ABSENT):
                return _interrupted("how the action ended", "the node has no files of it, as after a reboot")
            if FOLLOW not in answer:
                return answer
            time.sleep(_RETRY_SECONDS)

    def rejoined(self, error: AnsibleConnectionFailure, elapsed: Elapsed | None) -> dict[str, Any]:
        """Return the result of a module that lost its connection before its answer. ``elapsed``: since when it may have begun. Without
        that, it begins now. The node may answer that it has no directory for the files of a job."""
        self._elapsed = elapsed
        self._lose(error)
        answer = self._patiently(self._fetched_or_begun)
        return self.result(answer[FOLLOW]) if FOLLOW in answer else answer

    def _fetched_or_begun(self) -> dict[str, Any]:
        """Ask for the result before each try to begin the job: the answer of the last try may be lost."""
        answer = self._node.fetch(self._job)
        why = self._why_unknown(answer) if answer.get(ABSENT) else ""
        if answer.get(ABSENT) and not why:
            self._elapsed = self._elapsed or Elapsed()
            answer, why = self._node.begin(asking(self._job, AFTER_SECONDS, answer)), "the node took too long to begin it"
        return _interrupted("whether the action has begun", why) if answer.get(ABSENT) else answer

    def _why_unknown(self, absent: Mapping[str, Any]) -> str:
        """Return why the action may have begun, although the node has no such job; empty if it certainly has not."""
        age = absent.get("fleet_age")
        if not isinstance(age, float) or asked_for({VARIABLE: asking(self._job, AFTER_SECONDS, absent)}) is None:
            return "the node does not say since when it has been up"
        if self._elapsed is None:
            return ""
        if age <= self._elapsed.seconds:
            return "the node has rebooted"
        if self._elapsed.seconds >= KEPT_SECONDS:
            return f"the node keeps the files of an action that has ended for {KEPT_SECONDS:.0f} s, and was out of reach for longer"
        return ""

    def _news(self, followed: Mapping[str, Any], offset: int) -> dict[str, Any] | None:
        """Wait for news of the job; return None if nothing can be read."""
        gather, patience = self._progress.pace
        python, job = str(followed["python"]), str(followed["job"])
        words = (python, os.path.join(job, "wait"), job, str(offset), f"{gather:.1f}", f"{patience:.1f}")
        return _parsed(self._node.run(shlex.join(words)))

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        """Ask until there is an answer, or the node has been out of reach for too long."""
        while True:
            if os.getppid() != self._run_of_ansible:
                # A worker outlives a killed Ansible. It must begin nothing, and no process waits for its result.
                with contextlib.suppress(AnsibleError):
                    self._node.give_up(self._job)
                raise AnsibleError("Cannot follow the action any longer: the run of Ansible has ended")
            try:
                answer = ask()
            except AnsibleError as error:
                self._lose(error)
            else:
                if self._lost_since is not None:
                    self._lost_since = None
                    self._progress.say("is back")
                return answer

    def _lose(self, error: AnsibleError) -> None:
        """Let an error pass, or raise it if the node has been out of reach for too long."""
        now = time.monotonic()
        if self._lost_since is None:
            self._lost_since = now
            self._progress.say(f"is out of reach, trying again for {LOST_SECONDS:.0f} s; if it is up, actions that have begun continue")
        elif now - self._lost_since > LOST_SECONDS:
            raise error
        self._node.disconnect()
        time.sleep(_RETRY_SECONDS)


def _interrupted(what: str, why: str) -> dict[str, Any]:
    advice = "look with server_power_info, and repeat the action if it is not done"
    return {"failed": True, "msg": f"Cannot tell {what}: {why}; {advice}", "code": "interrupted", "changed": False}


def _plain_result(text: str | None) -> dict[str, Any] | None:
    """Return a module's output if it is plain JSON with only `_PLAIN_KEYS`, without Ansible's own types: this saves a request."""
    if not text or "__ansible_type" in text:
        return None
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(text)
        return found if isinstance(found, dict) and found.keys() <= _PLAIN_KEYS else None
    return None


def _parsed(output: str) -> dict[str, Any] | None:
    """Return the last line of news; a terminal, a profile or sudo may print others."""
    for line in reversed(output.splitlines()):
        if line.lstrip().startswith('{"fleet_lines"'):
            with contextlib.suppress(ValueError, RecursionError):
                found: dict[str, Any] = json.loads(line)
                return found
    return None
