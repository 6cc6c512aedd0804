# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that the steps of one run share: its own, the one it goes on with, and its result."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from typing import Any

from . import files
from .record import Record
from .words import RolloutError

_FOLDER = "~/.ansible/fleet_power"
#: The default: a link to the result of the run that ended last. Each run has a file of its own beside it.
_LINK = f"{_FOLDER}/rollout.json"
_RESULTS = re.compile(r"rollout-[0-9a-f]{8}\.json")
#: So many results are kept. A night's run for three months, and a file of 5,000 servers has 3.3 MB.
_KEPT_RESULTS = 100
_CONSEQUENCE = "what was done is told above alone"


class RunFiles:
    """The paths of a run's files, from a step's options. In check mode, what outlives the command is neither written nor removed.

    ``temporary`` is a directory that Ansible cleans up.
    """

    def __init__(self, asked: Mapping[str, Any], temporary: str, *, check: bool) -> None:
        self._temporary = temporary
        self.check = check
        #: The file of the run; empty before it has one, as are the others that are not asked for.
        self.own = _path(asked.get("file"))
        #: The file of the run to go on with.
        self.resume = _path(asked.get("resume"))
        self._kept = _path(asked.get("resume_file"))
        self._result = _path(asked.get("result_file"))
        #: The page that is renewed as the run goes.
        self.report = "" if check else _path(asked.get("report"))

    def forget_result(self) -> None:
        """Remove the last run's result, which nobody may take for this one's."""
        if self._result and not self.check:
            files.remove(self._result)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write the result of the run where one is wanted: into the very file that was asked for, or into one of its own."""
        if not self._result or self.check:
            return
        if self._result != _path(_LINK):
            files.write(self._result, result, _CONSEQUENCE)
            return
        folder, name = os.path.dirname(self._result), f"rollout-{result.get('run') or secrets.token_hex(4)}.json"
        files.write(os.path.join(folder, name), result, _CONSEQUENCE)
        files.point(self._result, name)
        files.keep_newest(folder, _RESULTS, _KEPT_RESULTS)

    def to_resume(self) -> Record:
        """Read the run to go on with. Raises `RolloutError` if another command is at it."""
        record = files.load(self.resume)
        if record.owner and files.is_at_it(record.owner):
            raise RolloutError(
                f"Cannot resume from {self.resume}: process {record.owner['pid']} is still at run {record.run}; wait for its end",
                "resume_in_use",
            )
        return record

    def place(self, record: Record, old: Record | None) -> str:
        """Return where a run is kept: a resumed one where it was, one that only shows what it would do where Ansible cleans up."""
        if self.check:
            return os.path.join(self._temporary, f"rollout-{record.run}.json")
        return self.resume if old is not None else self._kept or os.path.expanduser(f"{_FOLDER}/resume-{record.run}.json")

    def begin(self, record: Record, old: Record | None) -> str:
        """Write a run that begins, and return where."""
        path = self.place(record, old)
        record.owner = files.this_command()
        files.save(path, record)
        return path

    def load(self, run: str) -> Record:
        """Read this run; two that share a file must not take each other's servers for their own."""
        record = files.load(self.own)
        if record.run != run:
            raise RolloutError(f"Cannot go on: {self.own} is that of another run by now, {record.run}", "resume_invalid")
        return record

    def save(self, record: Record) -> None:
        """Write this run as it is now."""
        files.save(self.own, record)

    def end(self, record: Record, resume_file: str | None) -> None:
        """Leave the run to whoever goes on with it in ``resume_file``, or remove it where there is none."""
        # One that only showed what it would do is removed with Ansible's own.
        if resume_file is None and not self.check:
            files.remove(self.own)
            return
        # Whoever goes on with it need not wait for the end of this command.
        record.owner = {}
        files.save(self.own, record)


def _path(given: object) -> str:
    return os.path.abspath(os.path.expanduser(str(given))) if given else ""
