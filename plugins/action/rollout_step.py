# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One step of a rolling run, on the controller: reads what nodes answered, keeps the run's file, decides what comes next."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ansible import constants
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.fleet.power.plugins.module_utils._fleet.options import options_fault
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout import files, report
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.opening import Start, open_run
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.resume import flying
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run import begin, count, describe_batch
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run_files import RunFiles
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.words import BOOTS, RolloutError
from ansible_collections.fleet.power.plugins.module_utils._fleet.table import render
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import timestamp
from ansible_collections.fleet.power.plugins.module_utils._power.model.option import Option, argument_spec
from ansible_collections.fleet.power.plugins.plugin_utils.plain_value import plain_value
from ansible_collections.fleet.power.plugins.plugin_utils.rollout_play import RolloutPlay
from ansible_collections.fleet.power.plugins.plugin_utils.spoken import speak

#: Options and what must be given for which step; what ``given`` holds is judged where it is understood.
_OPTIONS = {
    "step": Option("str", required=True, choices=("clear", "take_up", "plan", "begin", "soak", "count", "report", "confirm")),
    "given": Option("dict"),
    "options": Option("list", elements="str", default=[]),
    "resume": Option("path", default=""),
    "resume_wait": Option("float", default=0, least=0),
    "resume_file": Option("path", default=""),
    "result_file": Option("path", default=""),
    "file": Option("path", default=""),
    "run": Option("str", default=""),
    "batch": Option("int", least=1),
    "pause": Option("float", default=0, least=0),
    "nodes": Option("list", elements="str", default=[]),
    "tasks": Option("str", default=""),
    "soak": Option("bool", default=False),
    "seconds": Option("float", least=0),
}
_NEEDED = [("step", "plan", ["given"]), ("step", "soak", ["seconds"])]
_NEEDED += [("step", step, ["file", "run", "batch"]) for step in ("begin", "count")]


class ActionModule(ActionBase):
    """The steps of a run. Nothing is done on a node."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Take the step that the task names."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        result["changed"] = False
        # As it came, until it is known to be good: where the result goes must be known even if it is not.
        self._asked: dict[str, Any] = {**{name: option.default for name, option in _OPTIONS.items()}, **plain_value(self._task.args)}
        self._play = RolloutPlay(self._task, task_vars or {})
        steps: dict[str, Callable[[], dict[str, Any]]] = {
            "clear": self._clear,
            "take_up": self._take_up,
            "plan": self._plan,
            "begin": self._begin,
            "soak": self._soak,
            "count": self._count,
            "report": self._report,
            "confirm": self._confirm,
        }
        try:
            self._asked = self._checked()
            result.update(steps[self._asked["step"]]())
        except RolloutError as error:
            result.update(failed=True, msg=str(error), code=error.code)
            if not self._asked.get("file") or self._asked["step"] in ("report", "confirm"):
                # There is no run that could tell of it at its end.
                with contextlib.suppress(RolloutError):
                    self._files.write_result(report.no_result(str(error), error.code, ended_at=_now()))
        return result

    def _checked(self) -> dict[str, Any]:
        """The task's options as what they are to be. Raises `RolloutError`."""
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
        """Remove the last run's result, before all else: nobody may take it for this run's, also if this run finds no node."""
        self._files.forget_result()
        if not self._asked["nodes"]:
            raise RolloutError("Cannot find a node to act on: no host of the inventory is meant (power_hosts, the group nodes by default)")
        return {}

    def _take_up(self) -> dict[str, Any]:
        """Return what a resumed run must wait for, and until when: the runs that may still be in flight, and their nodes."""
        fault = options_fault("rollout_options (power_options)", self._asked["options"])
        if fault is not None:
            raise RolloutError(fault)
        self._files.forget_result()
        found = flying(self._files.to_resume()) if self._asked["resume"] else {"nodes": [], "runs": []}
        return {**found, "until": time.time() + self._asked["resume_wait"]}

    def _plan(self) -> dict[str, Any]:
        """Decide which servers are meant, in which batches; make the run's file."""
        run_files = self._files
        seen = {node: self._play.answer(node, "__rollout_seen") for node in self._play.nodes()}
        start = Start(secrets.token_hex(4), _now(), self._check)
        with files.alone(run_files.resume) if self._asked["resume"] else contextlib.nullcontext():
            old = run_files.to_resume() if self._asked["resume"] else None
            record = open_run(self._asked["given"], seen, start, old)
            path = run_files.begin(record, old)
        if not self._check:
            chosen = sum(row.batch > 0 for row in record.rows)
            speak(f"Run {record.run}: {chosen} servers in {record.batches} batches, kept in {path}")
        numbers = [] if record.stopped else list(range(1, record.batches + 1))
        told = {"action": record.action, "boots": record.action in BOOTS, "reason": record.reason}
        return {"file": path, "run": record.run, **told, "numbers": numbers}

    def _begin(self) -> dict[str, Any]:
        """Begin a batch, after a pause where there is one. What is in flight stands in the file before a node is asked."""
        number, pause = self._asked["batch"], self._asked["pause"]
        if number > 1 and pause > 0 and not self._check:
            speak(f"Waiting {pause:g} s before batch {number}")
            time.sleep(pause)
        record = self._files.load(self._asked["run"])
        fault = self._tasks_fault()
        if fault:
            record.stopped = fault
            self._files.save(record)
            raise RolloutError(fault)
        work = begin(record, number)
        self._files.save(record)
        return {"work": work}

    def _tasks_fault(self) -> str:
        """Why the file of tasks cannot be used; empty if it can. Ansible would take all nodes out of the play for it, or break off."""
        if not self._asked["tasks"]:
            return ""
        try:
            found = self._loader.load_from_file(self._find_needle("tasks", self._asked["tasks"]))
        except AnsibleError as error:
            return f"Cannot use rollout_before_batch_tasks={self._asked['tasks']}: {error.message}"
        tasks = [] if found is None else found
        if not isinstance(tasks, Sequence) or not all(isinstance(each, Mapping) for each in tasks):
            return f"Cannot use rollout_before_batch_tasks={self._asked['tasks']}: it is no list of tasks"
        return ""

    def _soak(self) -> dict[str, Any]:
        """Let time pass in which servers are to stay up."""
        time.sleep(self._asked["seconds"])
        return {}

    def _count(self) -> dict[str, Any]:
        """Count a batch; fails the task when no other may begin."""
        number, record = self._asked["batch"], self._files.load(self._asked["run"])
        nodes = {str(row.node) for row in record.rows if row.batch == number}

        def told(name: str) -> dict[str, Mapping[str, Any]]:
            return {node: self._play.answer(node, name) or {} for node in nodes}

        soak = (told("__rollout_up"), told("__rollout_still_up")) if self._asked["soak"] else None
        count(record, number, told("__rollout_answer"), soak)
        self._files.save(record)
        speak(describe_batch(record, number))
        if record.stopped:
            return {"failed": True, "stopped": True, "msg": f"The run stops here: {record.stopped}"}
        return {}

    def _report(self) -> dict[str, Any]:
        """Tell of the whole run; fails the task unless all ended well. The file stays only where something is left."""
        path = self._files.own
        if not path:
            return {"skipped": True}
        record = self._files.load(self._asked["run"])
        keeps = bool(record.left or record.failed)
        resume_file = path if keeps and not self._check else None
        seconds = (_moment(_now()) - _moment(record.began_at)).total_seconds()
        result = report.result(record, ended_at=_now(), seconds=seconds, resume_file=resume_file)
        table = f"\n{render(report.HEADINGS, report.table_rows(record))}\n\n" if record.rows else ""
        speak(f"{table}{result['msg']}")
        if resume_file is not None:
            before = f"What failed before was left alone: {len(record.failed)}; " if result["ok"] else "To do what is left, "
            speak(f"{before}{report.going_on(record, resume_file)}")
        self._files.end(record, resume_file)
        self._files.write_result(result)
        return report.verdict(result, record, resume_file)

    def _confirm(self) -> dict[str, Any]:
        """Fail where a run was begun in this command and has not told of its end: something has ended its play, and all seemed well."""
        path = self._files.own
        if not path or not os.path.exists(path):
            return {"skipped": True}
        record = files.load(path)
        if record.run == self._asked["run"] and record.owner:
            raise RolloutError(
                f"Cannot tell of run {record.run}: its play was ended before its end, as by meta: end_play in rollout_before_batch_tasks; "
                f"go on with the same command and -e rollout_resume={path}",
                "broken_off",
            )
        return {"skipped": True}

    @property
    def _files(self) -> RunFiles:
        return RunFiles(self._asked, constants.DEFAULT_LOCAL_TMP, check=self._check)

    @property
    def _check(self) -> bool:
        return bool(self._task.check_mode)


def _now() -> str:
    return timestamp(datetime.now(timezone.utc))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
