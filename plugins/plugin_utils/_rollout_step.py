# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The play and the steps of a rolling run on the controller: waits, batches, and the final report."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout import report, times
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.notifications import VARIABLE, RunNotifications, read_receivers
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run import begin_batch, count_batch, stop_for_deadline
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run_files import RunFiles
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.times import Waits, longest, moment_in, note_time, remaining
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.values import DONE, UNCHANGED, RolloutError
from ansible_collections.fleet.power.plugins.module_utils._fleet.table import render
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import timestamp
from ansible_collections.fleet.power.plugins.plugin_utils._output import speak
from ansible_collections.fleet.power.plugins.plugin_utils._rollout_report import RunReport, local_now
from ansible_collections.fleet.power.plugins.plugin_utils._server_action import controller_user
from ansible_collections.fleet.power.plugins.plugin_utils._variables import given_fault, plain_value, raw_variables

_STRATEGIES = ("linear", "ansible.builtin.linear", "debug", "ansible.builtin.debug")
_NEEDED = ("servers", "complete", "code", "msg", "module_stderr", "unreachable", "before_batch_failed")
#: Seconds between two looks at the clock: it may be set, and the machine may sleep.
_LOOK_SECONDS = 1.0
_REMIND_SECONDS = 1800.0


class RolloutPlay:
    """A play, read from a task's variables."""

    def __init__(self, task: Any, task_vars: Mapping[str, Any]) -> None:
        self._task = task
        self._vars = task_vars

    def nodes(self) -> list[str]:
        """Return all nodes of the play, including lost ones. Raises `RolloutError` for a play that cannot roll out."""
        everywhere, active = list(self._vars["ansible_play_hosts_all"]), set(self._vars["ansible_play_hosts"])
        if set(self._vars["ansible_play_batch"]) != active:
            raise RolloutError("Cannot roll out in a play that has serial: each part would be a run of its own; use rollout_serial")
        play = getattr(getattr(self._task, "_parent", None), "_play", None)
        strategy = getattr(play, "strategy", _STRATEGIES[0])
        if strategy not in _STRATEGIES:
            raise RolloutError(f"Cannot roll out with strategy {strategy}: its nodes do not wait for each other; use linear")
        return [str(node) for node in everywhere]

    @property
    def asked_by(self) -> str:
        play = self._vars.get("ansible_play_name")
        return f"{controller_user()} (play {play})" if play else controller_user()

    def here(self) -> str:
        return str(self._vars["inventory_hostname"])

    def left(self) -> list[str]:
        """Return the reachable nodes, in Ansible's order."""
        active = set(self._vars["ansible_play_hosts"])
        return [str(node) for node in self._vars["ansible_play_batch"] if node in active]

    def sets(self, name: str) -> bool:
        """Tell whether any node sets a variable. Its template is not evaluated, since it may need others."""
        if self._vars.get(name):
            return True
        return any(raw_variables(self._vars["hostvars"], node).get(name) for node in self.left())

    def variables_fault(self, loader: Any) -> str:
        """Return why extra variables are unusable, or an empty text. Other misspelt variables give a warning."""
        return given_fault(loader, self._vars, self._vars["ansible_play_hosts_all"])

    def named_as_set(self, text: str) -> str:
        """Return a text with the names of the playbook's variables, where the playbook sets those of the role with them."""
        for name in ("action", "servers", "priorities"):
            if f"power_{name}" in str(self._vars.get(f"rollout_{name}")):
                text = text.replace(f"rollout_{name}", f"power_{name}")
        return text

    def value(self, name: str, templar: Any) -> Any:
        """Return the evaluated variable for the task's node, None if it is not set. Raises `RolloutError`."""
        if not self._vars.get(name):
            return None
        try:
            return plain_value(templar.template(self._vars[name]))
        except AnsibleError as error:
            raise RolloutError(f"Cannot use {name}: {error.message}") from error

    def answer(self, node: str, name: str) -> dict[str, Any] | None:
        """Return the registered result of a node, None without one. Results outlive plays, so a node outside this play has none."""
        if node not in self._vars["ansible_play_hosts"]:
            return None
        found = self._vars["hostvars"][node].get(name)
        if not isinstance(found, Mapping) or found.get("skipped"):
            return None
        return {key: plain_value(found[key]) for key in _NEEDED if key in found}


def wait_for(seconds: float, meanwhile: Callable[[], None]) -> None:
    """Wait, and call ``meanwhile`` each second. Raises `AnsibleError` if Ansible ends meanwhile."""
    run, until = os.getppid(), time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        meanwhile()
        _look_after(left, run)


def await_window(not_before: float, *, check: bool) -> None:
    """Wait for a moment, in seconds since 1970, and report it; check mode only reports. Raises `AnsibleError` if Ansible ends."""
    run, reminded_at = os.getppid(), None
    while (left := not_before - time.time()) > 0:
        if check:
            speak(times.no_window_line(not_before, time.time()))
            return
        if reminded_at is None or time.monotonic() - reminded_at >= _REMIND_SECONDS:
            reminded_at = time.monotonic()
            speak(times.window_line(not_before, time.time()))
        _look_after(left, run)


def _look_after(seconds: float, run: int) -> None:
    time.sleep(min(seconds, _LOOK_SECONDS))
    if os.getppid() != run:
        # A worker outlives an ended Ansible. It must not continue hours later, nor write a file that another command has resumed.
        raise AnsibleError("Cannot wait any longer: the run of Ansible has ended")


def notifications_of(play: RolloutPlay, templar: Any, *, check: bool) -> RunNotifications:
    """Return the notifications for the role's receivers; check mode has none."""
    return RunNotifications(lambda: () if check else read_receivers(play.value(VARIABLE, templar)), socket.gethostname())


@dataclass(frozen=True)
class RolloutSteps:
    """The steps of one rolling run, made of its record and its play."""

    run: str
    files: RunFiles
    play: RolloutPlay
    waits: Waits
    page: RunReport
    notifications: RunNotifications

    def go_on(self, number: int | None, fault: Callable[[], str]) -> dict[str, Any]:
        """Count the last batch and begin this one. Without a number, or if no batch may begin, report. ``fault`` returns why this batch
        must not begin, or an empty text. Return the task's result: the work of each node, or the verdict."""
        try:
            record, work = self._advance(number, fault)
        except RolloutError as error:
            # The record on the disk can still be reported.
            record = self.files.load(self.run)
            record.stopped = str(error)
            return {"failed_nodes": self.play.left()[:1], **self._report(record), "failed": True, "msg": str(error), "code": error.code}
        return self._report(record) if work is None else {"work": work}

    def soak(self, number: int) -> None:
        """Wait while the servers of a batch must stay up, if an action on one of them ended well."""
        record = self.files.load(self.run)
        answers = self._answers(record, number, "__rollout_answer").values()
        if any(each.get("outcome") in (DONE, UNCHANGED) for answer in answers for each in answer.get("servers") or ()):
            self._say(times.soak_line(record, number, self.waits.soak, local_now()))
            wait_for(self.waits.soak, self.page.renew)

    def _advance(self, number: int | None, fault: Callable[[], str]) -> tuple[Record, dict[str, Any] | None]:
        record = self.files.load(self.run)
        if any(row.in_flight for row in record.in_batch(record.begun)):
            self._count(record)
        self._pass_over(record, record.batches + 1 if number is None else number)
        if number is None or record.stopped:
            return record, None
        pause = self.waits.pause if number > 1 and not self.files.check else 0
        if self._is_too_late(record, number, pause):
            return record, None
        if pause > 0:
            self._say(times.pause_line(number, pause, local_now()))
            wait_for(pause, self.page.renew)
        await_window(moment_in(record.not_before) if record.not_before else 0, check=self.files.check)
        record.stopped = fault()
        if record.stopped or self._is_too_late(record, number):
            return record, None
        work = self._begin(record, number)
        line = times.begin_line(record, number, local_now(), self.waits)
        speak(line)
        self.page.tell(line, remaining(record, number, self.waits), batch_begins=True)
        return record, work

    def _is_too_late(self, record: Record, number: int, pause: float = 0) -> bool:
        """Tell whether a batch after a pause may end too late; then the rolling run has stopped."""
        seconds = pause + longest(record, [number], self.waits)
        fault = "" if self.files.check else times.deadline_fault(record, number, seconds, time.time())
        if fault:
            stop_for_deadline(record, number, fault)
        return bool(fault)

    def _pass_over(self, record: Record, until: int) -> None:
        """Count the batches whose nodes are all lost. Raises `RolloutError` if one has a node left."""
        left = set(self.play.left())
        for number in range(record.begun + 1, until):
            if record.stopped:
                return
            if left.intersection(str(row.node) for row in record.in_batch(number)):
                raise RolloutError(f"Cannot go on: batch {number} was to come before")
            self._begin(record, number)
            count_batch(record, number, {})
            self.files.save(record)
            speak(times.passed_line(record, number, local_now()))
        if until <= record.begun:
            raise RolloutError(f"Cannot go on: batch {until} was begun before")

    def _begin(self, record: Record, number: int) -> dict[str, Any]:
        """Begin a batch. The record has the actions in flight before a node gets the request."""
        work = begin_batch(record, number)
        record.batch_began_at = now()
        self.files.save(record)
        return work

    def _count(self, record: Record) -> None:
        number = record.begun
        soak = None
        if self.waits.soak:
            soak = self._answers(record, number, "__rollout_up"), self._answers(record, number, "__rollout_still_up")
        count_batch(record, number, self._answers(record, number, "__rollout_answer"), soak)
        note_time(record, number, seconds_since(record.batch_began_at), self.waits)
        record.batch_times.append([number, record.batch_began_at, now()])
        self.files.save(record)
        self._say(times.end_line(record, number, local_now()))

    def _say(self, line: str) -> None:
        speak(line)
        self.page.tell(line)

    def _answers(self, record: Record, number: int, name: str) -> dict[str, Mapping[str, Any]]:
        nodes = {str(row.node) for row in record.in_batch(number)}
        return {node: self.play.answer(node, name) or {} for node in nodes}

    def _report(self, record: Record) -> dict[str, Any]:
        """Report the whole rolling run; the result fails the task unless all ended well. The record stays only if work is left."""
        keeps = bool(record.unfinished or record.failed)
        resume_file = self.files.own if keeps and not self.files.check else None
        result = report.result(record, ended_at=now(), seconds=seconds_since(record.began_at), resume_file=resume_file)
        table = f"\n{render(report.HEADINGS, report.table_rows(record))}\n\n" if record.rows else ""
        speak(f"{table}{result['msg']}")
        if resume_file is not None:
            nothing_left = result["ok"] and not record.unfinished
            before = f"What failed before was left alone: {len(record.failed)}; " if nothing_left else "To do what is left, "
            speak(f"{before}{report.going_on(record, resume_file)}")
        self.page.end(record, report.parts_of_going_on(record, resume_file) if resume_file else (), result)
        self.notifications.close(record, self.files.own, result)
        self.files.end(record, resume_file)
        self.files.write_result(result)
        self.notifications.end(record, self.files.own)
        left, blamed = self.play.left(), report.blamed(record)
        return report.verdict(result, [node for node in left if node in blamed] or left[:1], left_ok=record.left_ok)


def now() -> str:
    """Return a timestamp for a record."""
    return timestamp(datetime.now(timezone.utc))


def seconds_since(began_at: str) -> float:
    return time.time() - moment_in(began_at)
