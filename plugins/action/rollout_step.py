# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One step of a rolling run, on the controller: reads the answers of nodes, keeps the record, decides what follows."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible import constants, context
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.fleet.power.plugins.module_utils._fleet.options import options_fault
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout import report, times
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record, Row, outcome_words
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run import batches_by_node
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run_files import RunFiles, alone, load
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.start import NewRun, nodes_in_flight, open_run, understand
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.times import Waits, read_window
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.values import BOOTS, RolloutError
from ansible_collections.fleet.power.plugins.module_utils._fleet.table import plural
from ansible_collections.fleet.power.plugins.module_utils._power.model.option import Option, argument_spec
from ansible_collections.fleet.power.plugins.plugin_utils._output import speak
from ansible_collections.fleet.power.plugins.plugin_utils._rollout_report import RunReport, local_now, shared_state
from ansible_collections.fleet.power.plugins.plugin_utils._rollout_step import (
    RolloutPlay,
    RolloutSteps,
    await_window,
    notifications_of,
    now,
    seconds_since,
)
from ansible_collections.fleet.power.plugins.plugin_utils._variables import plain_value

#: The options, and below them those that a step requires. `understand` checks the content of ``given``.
_OPTIONS = {
    "step": Option("str", required=True, choices=("clear", "take_up", "plan", "next", "soak", "blame", "confirm")),
    "given": Option("dict"),
    "window": Option("dict", default={}),
    "options": Option("list", elements="str", default=[]),
    "resume": Option("path", default=""),
    "resume_wait": Option("float", default=0, least=0),
    "resume_file": Option("path", default=""),
    "result_file": Option("path", default=""),
    "report": Option("path", default=""),
    "file": Option("path", default=""),
    "run": Option("str", default=""),
    "batch": Option("int", least=1),
    "pause": Option("float", default=0, least=0),
    "soak": Option("float", default=0, least=0),
    "max_parallel": Option("int", default=0, least=0),
    "nodes": Option("list", elements="str", default=[]),
    "tasks": Option("str", default=""),
}
_NEEDED = [("step", "plan", ["given"]), ("step", "soak", ["batch"])]
_NEEDED += [("step", step, ["file", "run"]) for step in ("next", "soak", "blame")]


class ActionModule(ActionBase):
    """The steps of a rolling run. They do nothing on a node."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        result["changed"] = False
        # Not checked yet: a refusal of the options also goes into the result file that they name.
        self._asked: dict[str, Any] = {**{name: option.default for name, option in _OPTIONS.items()}, **plain_value(self._task.args)}
        self._play = RolloutPlay(self._task, task_vars or {})
        self._notifications = notifications_of(self._play, self._templar, check=self._check)
        try:
            self._asked = self._checked()
            step: Callable[[], dict[str, Any]] = getattr(self, f"_{self._asked['step']}")
            result.update(step())
        except RolloutError as error:
            msg = self._play.named_as_set(str(error))
            result.update(failed=True, msg=msg, code=error.code)
            if self._asked.get("step") == "next":
                result["failed_nodes"] = self._play.left()[:1]
            if not self._asked.get("file") or self._asked.get("step") in ("next", "confirm"):
                # No rolling run exists yet that could report this at its end.
                with contextlib.suppress(RolloutError):
                    self._files.write_result(report.no_result(msg, error.code, ended_at=now()))
        if self._notifications.warnings:
            result["warnings"] = self._notifications.warnings
        return result

    def _checked(self) -> dict[str, Any]:
        try:
            _unused, validated = self.validate_argument_spec(argument_spec(_OPTIONS), required_if=_NEEDED)
        except AnsibleError as error:
            raise RolloutError(f"Cannot take this step of a run: {error.message}") from error
        asked: dict[str, Any] = plain_value(validated)
        for name, option in _OPTIONS.items():
            if option.least is not None and asked[name] is not None and not option.holds(asked[name]):
                raise RolloutError(f"Cannot use {name}={asked[name]}: expected a number {option.limit}")
        return asked

    def _clear(self) -> dict[str, Any]:
        """Remove the result of the last rolling run first, so that you never take it for the new one."""
        self._files.forget_result()
        if not self._asked["nodes"]:
            raise RolloutError("Cannot find a node to act on: no host of the inventory matches (power_hosts, the group nodes by default)")
        return {}

    def _take_up(self) -> dict[str, Any]:
        """Wait until the rolling run may begin; return its window, and the earlier runs and nodes that may still have actions in flight."""
        fault = self._play.variables_fault(self._loader) or options_fault("rollout_options (power_options)", self._asked["options"])
        if fault:
            raise RolloutError(fault)
        self._files.forget_result()
        window = read_window(self._asked["given"] or {}, time.time())
        old = self._files.to_resume() if self._asked["resume"] else None
        if self._asked["given"] is not None:
            # Faults appear now, not when the window opens and you have left.
            understand(self._asked["given"], self._play.nodes(), old)
            self._notifications.require_good()
        await_window(window.not_before or 0, check=self._check)
        found = {"nodes": [], "runs": []} if old is None else nodes_in_flight(self._files.to_resume())
        if found["nodes"]:
            speak(times.flight_line(found["nodes"], found["runs"], self._asked["resume_wait"], local_now()))
        return {**found, "until": time.time() + self._asked["resume_wait"], "window": window.facts()}

    def _plan(self) -> dict[str, Any]:
        run_files = self._files
        answers = {node: self._play.answer(node, "__rollout_seen") for node in self._play.nodes()}
        new = NewRun(secrets.token_hex(4), now(), self._check, self._asked["window"], self._play.asked_by)
        with alone(run_files.resume) if self._asked["resume"] else contextlib.nullcontext():
            old = run_files.to_resume() if self._asked["resume"] else None
            record = open_run(self._asked["given"], answers, new, old)
            self._notifications.expect(record, old, run_files.place(record, old))
            page = _page()
            page.begin(run_files.report, record)
            path = run_files.begin(record, old)
            page.follow(path)
        if not self._check:
            with shared_state(_interruptible(), create=True) as state:
                state["file"] = path
            continues = f" continues run {record.resumes}" if record.resumes else ""
            apart = outcome_words([row for row in record.rows if row.server is not None and not row.batch])
            speak(
                f"Run {record.run}{continues}: {plural(report.counts(record)['selected'], 'server')} in "
                f"{plural(record.batches, 'batch', 'batches')}{f' (without a batch: {apart})' if apart else ''}, kept in {path}"
            )
        if record.batches and not record.stopped:
            if record.for_players:
                speak(times.worst_line(record, self._waits if record.action in BOOTS else replace(self._waits, soak=0)))
            if not self._check:
                # After SIGTERM Ansible shows nothing more.
                speak(f"If it is interrupted, {report.going_on(record, path)}")
        self._notifications.begin(record, path)
        return {
            "file": path,
            "run": record.run,
            "action": record.action,
            "boots": record.action in BOOTS,
            "reason": record.reason,
            "before": self._play.sets("rollout_before_batch_tasks"),
            "batches": {} if record.stopped else self._turns(record),
        }

    def _turns(self, record: Record) -> dict[str, list[dict[str, Any]]]:
        rows: dict[int, list[Row]] = {}
        for row in record.rows:
            rows.setdefault(row.batch, []).append(row)
        turns = {
            number: {"number": number, "label": f"{number} of {record.batches}: {times.servers_of_rows(members)}"}
            for number, members in rows.items()
        }
        own = batches_by_node(record, self._play.left())
        return {node: [turns[number] for number in numbers] for node, numbers in own.items() if numbers}

    def _next(self) -> dict[str, Any]:
        """Count the batch before and begin the next. If no batch may begin, report, and fail unless all ended well."""
        return self._course.go_on(self._asked["batch"], self._tasks_fault)

    def _tasks_fault(self) -> str:
        """Return why the file of tasks is unusable, or an empty text. Ansible would remove all nodes from the play, or break off."""
        if not self._asked["tasks"]:
            return ""
        try:
            found = self._loader.load_from_file(self._find_needle("tasks", self._asked["tasks"]))
        except AnsibleError as error:
            return f"Cannot use rollout_before_batch_tasks={self._asked['tasks']}: {error.message}"
        tasks = [] if found is None else found
        if not isinstance(tasks, Sequence) or not all(isinstance(each, Mapping) for each in tasks):
            return f"Cannot use rollout_before_batch_tasks={self._asked['tasks']}: it is not a list of tasks"
        return ""

    def _soak(self) -> dict[str, Any]:
        self._course.soak(self._asked["batch"])
        return {}

    def _blame(self) -> dict[str, Any]:
        """Fail a node: for its own failures, or for a reason that belongs to no node."""
        record = self._files.load(self._asked["run"])
        why = report.blamed(record).get(self._play.here()) or f"Run {record.run} failed: {report.summary(record)}"
        return {"failed": True, "msg": why}

    def _confirm(self) -> dict[str, Any]:
        """Fail if a rolling run of this command has not reported its end: its play broke off, although all looked well."""
        path = self._files.own
        if not path or not os.path.exists(path):
            return {}
        record = load(path)
        if record.run == self._asked["run"] and record.owner:
            record.stopped = record.stopped or "its play ended early"
            _page().end(record, report.parts_of_going_on(record, path), {"ok": False})
            whole = report.result(record, ended_at=now(), seconds=seconds_since(record.began_at), resume_file=path)
            self._notifications.break_off(record, path, {**whole, "ok": False})
            raise RolloutError(
                f"Cannot report run {record.run}: its play ended early, as by meta: end_play in rollout_before_batch_tasks; "
                f"{report.going_on(record, path)}",
                "broken_off",
            )
        return {}

    @property
    def _files(self) -> RunFiles:
        return RunFiles(self._asked, constants.DEFAULT_LOCAL_TMP, check=self._check)

    @property
    def _course(self) -> RolloutSteps:
        return RolloutSteps(self._asked["run"], self._files, self._play, self._waits, _page(), self._notifications)

    @property
    def _waits(self) -> Waits:
        forks = context.CLIARGS.get("forks") or constants.DEFAULT_FORKS
        return Waits(self._asked["pause"], self._asked["soak"], self._asked["max_parallel"], forks)

    @property
    def _check(self) -> bool:
        return bool(self._task.check_mode)


def _page() -> RunReport:
    return RunReport(constants.DEFAULT_LOCAL_TMP)


def _interruptible() -> str:
    return os.path.join(constants.DEFAULT_LOCAL_TMP, "fleet-power-run")


def say_how_to_resume() -> None:
    """Say how to resume this command's rolling run, if it has not reported its end: Ctrl-C ends Ansible at once."""
    with shared_state(_interruptible()) as state, contextlib.suppress(KeyError, RolloutError):
        record = load(state["file"])
        if record.owner.get("pid") == os.getpid():
            speak(f"To do what is left, {report.going_on(record, state['file'])}")


# As the last output. Ansible's main process loads this module, and removes its temporary directory later.
atexit.register(say_how_to_resume)
