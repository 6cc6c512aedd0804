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
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.fleet.power.plugins.module_utils.fleet.rollout import files, report
from ansible_collections.fleet.power.plugins.module_utils.fleet.rollout.opening import Start, open_run
from ansible_collections.fleet.power.plugins.module_utils.fleet.rollout.record import Record
from ansible_collections.fleet.power.plugins.module_utils.fleet.rollout.resume import flying
from ansible_collections.fleet.power.plugins.module_utils.fleet.rollout.run import begin, count, describe_batch
from ansible_collections.fleet.power.plugins.module_utils.fleet.rollout.words import RolloutError
from ansible_collections.fleet.power.plugins.module_utils.fleet.table import render
from ansible_collections.fleet.power.plugins.module_utils.power.model import timestamp

_FOLDER = "~/.ansible/fleet_power"
_STRATEGIES = ("linear", "ansible.builtin.linear", "debug", "ansible.builtin.debug")


class ActionModule(ActionBase):
    """The steps of a run. Nothing is done on a node."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Take the step that the task names."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        result["changed"] = False
        self._asked: dict[str, Any] = _plain(self._task.args)
        self._vars = task_vars or {}
        steps: dict[str, Callable[[], dict[str, Any]]] = {
            "take_up": self._take_up,
            "plan": self._plan,
            "begin": self._begin,
            "soak": self._soak,
            "count": self._count,
            "report": self._report,
        }
        try:
            step = steps.get(str(self._asked.get("step")))
            if step is None:
                raise RolloutError(f"Cannot take step {self._asked.get('step')!r}: expected one of {', '.join(steps)}")
            result.update(step())
        except RolloutError as error:
            result.update(failed=True, msg=str(error), code=error.code)
            if not self._asked.get("file"):
                # There is no run yet that could tell of it at its end.
                with contextlib.suppress(RolloutError):
                    self._write_result(report.no_result(str(error), error.code, ended_at=_now()))
        return result

    def _take_up(self) -> dict[str, Any]:
        """What a resumed run must wait for: which runs may still be in flight, and on which nodes."""
        if self._path("result_file") and not self._check:
            # Whoever reads the result of this run must not find that of the last one.
            files.remove(self._path("result_file"))
        return dict(flying(files.load(self._path("resume")))) if self._asked.get("resume") else {"nodes": [], "runs": []}

    def _plan(self) -> dict[str, Any]:
        """Decide which servers are meant, in which batches; make the run's file."""
        nodes = self._nodes()
        seen = {node: self._answer(node, "__rollout_seen") for node in nodes}
        old = files.load(self._path("resume")) if self._asked.get("resume") else None
        record = open_run(self._asked.get("given") or {}, seen, Start(secrets.token_hex(4), _now(), self._check), old)
        path = self._run_file(record, old)
        files.save(path, record)
        numbers = [] if record.stopped else list(range(1, record.batches + 1))
        return {"file": path, "run": record.run, "action": record.action, "reason": record.node_reason, "numbers": numbers}

    def _begin(self) -> dict[str, Any]:
        """Begin a batch, after a pause where there is one. What is in flight stands in the file before a node is asked."""
        number = int(self._asked["batch"])
        pause = float(self._asked.get("pause") or 0)
        if number > 1 and pause > 0 and not self._check:
            Display().display(f"Waiting {pause:g} s before batch {number}")
            time.sleep(pause)
        record = self._load()
        work = begin(record, number)
        files.save(self._path("file"), record)
        return {"work": work}

    def _soak(self) -> dict[str, Any]:
        """Let time pass in which servers are to stay up."""
        time.sleep(float(self._asked["seconds"]))
        return {}

    def _count(self) -> dict[str, Any]:
        """Count a batch; fails the task when no other may begin."""
        number, record = int(self._asked["batch"]), self._load()
        nodes = {str(row.node) for row in record.rows if row.batch == number}

        def told(name: str) -> dict[str, Mapping[str, Any]]:
            return {node: self._answer(node, name) or {} for node in nodes}

        soak = (told("__rollout_up"), told("__rollout_still_up")) if self._asked.get("soak") else None
        count(record, number, told("__rollout_answer"), soak)
        files.save(self._path("file"), record)
        Display().display(describe_batch(record, number))
        if record.stopped:
            return {"failed": True, "msg": f"The run stops here: {record.stopped}"}
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
        self._write_result(result)
        if resume_file is None:
            files.remove(path)
        return _verdict(result, resume_file, is_left=bool(record.left))

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
        if record.run != self._asked.get("run"):
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
        """What a node's task returned, None if there is nothing."""
        found = self._vars["hostvars"][node].get(name)
        if not isinstance(found, Mapping) or found.get("skipped"):
            return None
        needed = ("servers", "code", "msg", "module_stderr", "unreachable", "before_batch_failed")
        return {key: _plain(found[key]) for key in needed if key in found}

    def _path(self, name: str) -> str:
        return os.path.abspath(os.path.expanduser(str(self._asked[name]))) if self._asked.get(name) else ""

    def _write_result(self, result: Mapping[str, Any]) -> None:
        if self._path("result_file") and not self._check:
            files.write(self._path("result_file"), result)

    @property
    def _check(self) -> bool:
        return bool(self._task.check_mode)


def _verdict(result: Mapping[str, Any], resume_file: str | None, *, is_left: bool) -> dict[str, Any]:
    """The task's own result: short, since Ansible prints that of a task that failed."""
    if result["ok"]:
        return {"counts": result["counts"], "run": result["run"], "resume_file": resume_file}
    msg = str(result["msg"])
    if resume_file is not None:
        more = "" if is_left else " -e rollout_resume_failed=true"
        msg += f"; go on with the same command and -e rollout_resume={resume_file}{more}"
    return {"failed": True, "msg": msg, "run": result["run"], "resume_file": resume_file}


def _plain(value: Any) -> Any:
    """A value as nothing but Python's own types: those of a template are more than JSON and files should see."""
    if isinstance(value, Mapping):
        return {str.__str__(str(key)): _plain(each) for key, each in value.items()}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Sequence):
        return [_plain(each) for each in value]
    return value


def _now() -> str:
    return timestamp(datetime.now(timezone.utc))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
