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
from ansible.utils.display import Display
from ansible_collections.fleet.power.plugins.module_utils._fleet.options import options_fault
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout import files, report
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.opening import Start, open_run
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.resume import flying
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run import begin, count, describe_batch
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.words import RolloutError
from ansible_collections.fleet.power.plugins.module_utils._fleet.table import render
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import timestamp
from ansible_collections.fleet.power.plugins.plugin_utils.plain_value import plain_value

_FOLDER = "~/.ansible/fleet_power"
#: Options and what must be given for which step; what ``given`` holds is judged where it is understood.
_OPTIONS: dict[str, dict[str, Any]] = {
    "step": {"type": "str", "required": True, "choices": ["clear", "take_up", "plan", "begin", "soak", "count", "report", "confirm"]},
    "given": {"type": "dict"},
    "options": {"type": "list", "elements": "str", "default": []},
    "resume": {"type": "path", "default": ""},
    "resume_wait": {"type": "float", "default": 0},
    "resume_file": {"type": "path", "default": ""},
    "result_file": {"type": "path", "default": ""},
    "file": {"type": "path", "default": ""},
    "run": {"type": "str", "default": ""},
    "batch": {"type": "int"},
    "pause": {"type": "float", "default": 0},
    "nodes": {"type": "list", "elements": "str", "default": []},
    "tasks": {"type": "str", "default": ""},
    "soak": {"type": "bool", "default": False},
    "seconds": {"type": "float"},
}
_NEEDED = [("step", "plan", ["given"]), ("step", "soak", ["seconds"])]
_NEEDED += [("step", step, ["file", "run", "batch"]) for step in ("begin", "count")]
#: The least of each number.
_LEAST = {"resume_wait": 0, "batch": 1, "pause": 0, "seconds": 0}
_STRATEGIES = ("linear", "ansible.builtin.linear", "debug", "ansible.builtin.debug")


class ActionModule(ActionBase):
    """The steps of a run. Nothing is done on a node."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Take the step that the task names."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        result["changed"] = False
        # As it came, until it is known to be good: where the result goes must be known even if it is not.
        self._asked: dict[str, Any] = {**{name: each.get("default") for name, each in _OPTIONS.items()}, **plain_value(self._task.args)}
        self._vars = task_vars or {}
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
                    self._write_result(report.no_result(str(error), error.code, ended_at=_now()))
        return result

    def _checked(self) -> dict[str, Any]:
        """The task's options as what they are to be. Raises `RolloutError`."""
        try:
            _unused, validated = self.validate_argument_spec(_OPTIONS, required_if=_NEEDED)
        except AnsibleError as error:
            raise RolloutError(f"Cannot take this step of a run: {error.message}") from error
        asked: dict[str, Any] = plain_value(validated)
        for name, least in _LEAST.items():
            if asked[name] is not None and not asked[name] >= least:
                raise RolloutError(f"Cannot use {name}={asked[name]}: expected a number of at least {least}")
        return asked

    def _clear(self) -> dict[str, Any]:
        """What comes before all else: nobody may take the result of the last run for that of this one, also if this one finds no node."""
        self._forget_result()
        if not self._asked["nodes"]:
            raise RolloutError("Cannot find a node to act on: no host of the inventory is meant (power_hosts, the group nodes by default)")
        return {}

    def _forget_result(self) -> None:
        if self._path("result_file") and not self._check:
            files.remove(self._path("result_file"))

    def _take_up(self) -> dict[str, Any]:
        """What a resumed run must wait for, and until when: which runs may still be in flight, and on which nodes."""
        fault = options_fault("rollout_options (power_options)", self._asked["options"])
        if fault is not None:
            raise RolloutError(fault)
        self._forget_result()
        found = flying(self._old()) if self._asked["resume"] else {"nodes": [], "runs": []}
        return {**found, "until": time.time() + self._asked["resume_wait"]}

    def _plan(self) -> dict[str, Any]:
        """Decide which servers are meant, in which batches; make the run's file."""
        nodes = self._nodes()
        seen = {node: self._answer(node, "__rollout_seen") for node in nodes}
        start = Start(secrets.token_hex(4), _now(), self._check)
        with files.alone(self._path("resume")) if self._asked["resume"] else contextlib.nullcontext():
            old = self._old() if self._asked["resume"] else None
            record = open_run(self._asked["given"], seen, start, old)
            record.owner = files.this_command()
            path = self._run_file(record, old)
            files.save(path, record)
        if not self._check:
            chosen = sum(row.batch > 0 for row in record.rows)
            Display().display(f"Run {record.run}: {chosen} servers in {record.batches} batches, kept in {path}")
        numbers = [] if record.stopped else list(range(1, record.batches + 1))
        return {"file": path, "run": record.run, "action": record.action, "reason": record.reason, "numbers": numbers}

    def _begin(self) -> dict[str, Any]:
        """Begin a batch, after a pause where there is one. What is in flight stands in the file before a node is asked."""
        number, pause = self._asked["batch"], self._asked["pause"]
        if number > 1 and pause > 0 and not self._check:
            Display().display(f"Waiting {pause:g} s before batch {number}")
            time.sleep(pause)
        record = self._load()
        fault = self._tasks_fault()
        if fault:
            record.stopped = fault
            files.save(self._path("file"), record)
            raise RolloutError(fault)
        work = begin(record, number)
        files.save(self._path("file"), record)
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
        number, record = self._asked["batch"], self._load()
        nodes = {str(row.node) for row in record.rows if row.batch == number}

        def told(name: str) -> dict[str, Mapping[str, Any]]:
            return {node: self._answer(node, name) or {} for node in nodes}

        soak = (told("__rollout_up"), told("__rollout_still_up")) if self._asked["soak"] else None
        count(record, number, told("__rollout_answer"), soak)
        files.save(self._path("file"), record)
        Display().display(describe_batch(record, number))
        if record.stopped:
            return {"failed": True, "stopped": True, "msg": f"The run stops here: {record.stopped}"}
        return {}

    def _report(self) -> dict[str, Any]:
        """Tell of the whole run; fails the task unless all ended well. The file stays only where something is left."""
        path = self._path("file")
        if not path:
            return {"skipped": True}
        record = self._load()
        keeps = bool(record.left or record.failed)
        resume_file = path if keeps and not self._check else None
        seconds = (_moment(_now()) - _moment(record.began_at)).total_seconds()
        result = report.result(record, ended_at=_now(), seconds=seconds, resume_file=resume_file)
        table = f"\n{render(report.HEADINGS, report.table_rows(record))}\n\n" if record.rows else ""
        Display().display(f"{table}{result['msg']}")
        if resume_file is not None:
            before = f"What failed before was left alone: {len(record.failed)}; " if result["ok"] else "To do what is left, "
            Display().display(f"{before}{report.going_on(record, resume_file)}")
        if resume_file is None:
            files.remove(path)
        else:
            # Whoever goes on with it need not wait for the end of this command.
            record.owner = {}
            files.save(path, record)
        self._write_result(result)
        return report.verdict(result, record, resume_file)

    def _confirm(self) -> dict[str, Any]:
        """Fail where a run was begun in this command and has not told of its end: something has ended its play, and all seemed well."""
        path = self._path("file")
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

    def _old(self) -> Record:
        """The run to resume. Raises `RolloutError` if another command is at it."""
        path = self._path("resume")
        record = files.load(path)
        if record.owner and files.is_at_it(record.owner):
            raise RolloutError(
                f"Cannot resume from {path}: process {record.owner['pid']} is still at run {record.run}; wait for its end", "resume_in_use"
            )
        return record

    def _run_file(self, record: Record, old: Record | None) -> str:
        """Where the run is kept: a resumed one where it was, one that only shows what it would do where Ansible cleans up."""
        if self._check:
            return os.path.join(constants.DEFAULT_LOCAL_TMP, f"rollout-{record.run}.json")
        if old is not None:
            return self._path("resume")
        return self._path("resume_file") or os.path.expanduser(f"{_FOLDER}/resume-{record.run}.json")

    def _load(self) -> Record:
        """This run; two that share a file must not take each other's servers for their own."""
        path = self._path("file")
        record = files.load(path)
        if record.run != self._asked["run"]:
            raise RolloutError(f"Cannot go on: {path} is that of another run by now, {record.run}", "resume_invalid")
        return record

    def _nodes(self) -> list[str]:
        """The nodes of the run: all of the play, those lost before the run included."""
        everywhere, active = list(self._vars["ansible_play_hosts_all"]), set(self._vars["ansible_play_hosts"])
        if set(self._vars["ansible_play_batch"]) != active:
            raise RolloutError("Cannot roll out in a play that has serial: each part would be a run of its own; use rollout_serial")
        play = getattr(getattr(self._task, "_parent", None), "_play", None)
        strategy = getattr(play, "strategy", _STRATEGIES[0])
        if strategy not in _STRATEGIES:
            raise RolloutError(f"Cannot roll out with strategy {strategy}: its nodes do not wait for each other; use linear")
        return [str(node) for node in everywhere]

    def _answer(self, node: str, name: str) -> dict[str, Any] | None:
        """What a node's task returned, None if there is nothing. It outlives plays: a node that is out of this one returned nothing."""
        if node not in self._vars["ansible_play_hosts"]:
            return None
        found = self._vars["hostvars"][node].get(name)
        if not isinstance(found, Mapping) or found.get("skipped"):
            return None
        needed = ("servers", "complete", "code", "msg", "module_stderr", "unreachable", "before_batch_failed")
        return {key: plain_value(found[key]) for key in needed if key in found}

    def _path(self, name: str) -> str:
        return os.path.abspath(os.path.expanduser(str(self._asked[name]))) if self._asked.get(name) else ""

    def _write_result(self, result: Mapping[str, Any]) -> None:
        if self._path("result_file") and not self._check:
            files.write(self._path("result_file"), result, "what was done is told above alone")

    @property
    def _check(self) -> bool:
        return bool(self._task.check_mode)


def _now() -> str:
    return timestamp(datetime.now(timezone.utc))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
