# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a rolling run: a page that any process of Ansible renews when it gets news.

The processes share a state and the batch's news in Ansible's directory for temporary files. No failure of the report ends the rolling run.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._fleet.page.page import REFRESH_SECONDS, Shown, page
from ansible_collections.fleet.power.plugins.module_utils._fleet.page.timelines import noted, read_live
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout import report, run_files
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.values import RolloutError
from ansible_collections.fleet.power.plugins.plugin_utils._output import speak

_FILE = "fleet-power-report"
#: The largest part of the time that renewing takes.
_MOST_OF_TIME = 0.05
_CONSEQUENCE = "it is no longer updated"


class RunReport:
    """The report of this command's rolling run, if it has one. ``temporary`` is a directory that Ansible removes."""

    def __init__(self, temporary: str) -> None:
        self._state = os.path.join(temporary, _FILE)
        self._news = f"{self._state}-news"

    def begin(self, path: str, record: Record) -> None:
        """Write the first report; an empty path means no report. Raises `RolloutError`."""
        for left in (self._state, self._news):
            with contextlib.suppress(OSError):
                os.unlink(left)
        if not path:
            return
        run_files.write_whole(path, page(record, Shown(local_now())))
        run_files.write(self._state, {"path": path, "run": record.run, "next_at": time.monotonic() + REFRESH_SECONDS})

    def follow(self, file: str) -> None:
        """Note the file of the record: from now on the report is renewed."""
        with shared_state(self._state) as state:
            if state:
                state["file"] = file

    def tell(self, doing: str, left: float | None = None, *, batch_begins: bool = False) -> None:
        """Note the current step and the estimated seconds that are left. A batch that begins drops the news of the last."""
        with shared_state(self._state) as state:
            if state:
                state.update(doing=doing, left=left)
            if state and batch_begins:
                with contextlib.suppress(OSError):
                    os.unlink(self._news)
        self.renew()

    def note(self, host: str, lines: Sequence[str]) -> None:
        """Note a node's news of its servers, and renew the report if it is time."""
        if not os.path.exists(self._state):
            return
        if lines:
            # One write, so that no news of other processes mixes in.
            with contextlib.suppress(OSError), open(self._news, "ab", buffering=0) as file:
                file.write(noted(host, lines, time.time()).encode())
        self.renew()

    def renew(self) -> None:
        """Renew the report if it is time."""
        # If another process renews it, there is nothing to do.
        with shared_state(self._state, patiently=False) as state:
            if "file" in state and time.monotonic() >= state["next_at"]:
                self._write(state)

    def end(self, record: Record, going_on: Sequence[str], result: Mapping[str, Any]) -> None:
        """Write the final report."""
        with shared_state(self._state) as state:
            if not state or state["run"] != record.run:
                return
            path = str(state["path"])
            with self._warning_of_faults():
                run_files.write_whole(
                    path, page(record, Shown(local_now(), going_on=going_on, result=result)), "it is as it was before the end"
                )
                speak(f"The report is {path}")
            state.clear()

    def _write(self, state: dict[str, Any]) -> None:
        """Write the report; the time that this takes sets the earliest next time."""
        began = time.monotonic()
        with self._warning_of_faults():
            record = run_files.load(str(state["file"]))
            if record.run == state["run"]:
                going_on = report.parts_of_going_on(record, str(state["file"])) if record.unfinished or record.failed else ()
                shown = Shown(local_now(), str(state.get("doing") or ""), going_on, state.get("left"), read_live(self._lines()))
                run_files.write_whole(str(state["path"]), page(record, shown), _CONSEQUENCE)
        took = time.monotonic() - began
        state["next_at"] = time.monotonic() + max(REFRESH_SECONDS, took / _MOST_OF_TIME)

    def _lines(self) -> list[str]:
        with contextlib.suppress(OSError), open(self._news, encoding="utf-8", errors="replace") as file:
            return file.readlines()
        return []

    @contextlib.contextmanager
    def _warning_of_faults(self) -> Iterator[None]:
        try:
            yield
        except RolloutError as error:
            speak(f"[WARNING]: {error}")


@contextlib.contextmanager
def shared_state(path: str, *, create: bool = False, patiently: bool = True) -> Iterator[dict[str, Any]]:
    """Return the JSON object of a file under the file's lock; keep what the caller changes. An emptied object is removed. It is empty
    without a readable file, and if another process has the lock and this one must not wait."""
    state: dict[str, Any] = {}
    with contextlib.ExitStack() as held:
        text = None
        with contextlib.suppress(OSError, ValueError):
            # Without a buffer, its close has nothing left to write and cannot fail.
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
            file = held.enter_context(open(descriptor, "r+b", buffering=0))
            fcntl.flock(file, fcntl.LOCK_EX | (0 if patiently else fcntl.LOCK_NB))
            text = file.read()
            state = json.loads(text or "{}")
        was_empty = not state
        yield state
        with contextlib.suppress(OSError):
            if not state and not was_empty:
                os.unlink(path)
            elif text is not None and json.dumps(state).encode() != text:
                file.seek(0)
                file.truncate()
                file.write(json.dumps(state).encode())


def local_now() -> datetime:
    return datetime.fromtimestamp(time.time()).astimezone()
