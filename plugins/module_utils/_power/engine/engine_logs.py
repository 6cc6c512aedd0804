# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The output of a Docker Engine's containers: as it comes, and as the engine has kept it."""

from __future__ import annotations

from datetime import timedelta

from ..model.clock import engine_time
from ..model.server import Run
from .engine_answers import is_before
from .engine_calls import EngineCalls
from .output import Output

#: How much earlier than a run's StartedAt its first lines may be stamped.
_EARLY = timedelta(milliseconds=100)


class DockerLogs:
    """Reads the output and the logs of containers; see `Logs`."""

    def __init__(self, calls: EngineCalls) -> None:
        self._calls = calls

    def attach(self, name: str) -> Output:
        """The container's output from now on."""
        with self._calls.asking(f"attach to container {name}", own_seconds=self._calls.timeout) as client:
            raw = client.attach_socket(name, params={"stdout": 1, "stderr": 1, "stream": 1})
        return Output(raw)

    def tail(self, name: str, lines: int) -> bytes:
        """The last lines of the container's log."""
        with self._calls.asking(f"read the log of container {name}") as client:
            return bytes(client.logs(name, stdout=True, stderr=True, tail=lines))

    def of_run(self, run: Run) -> bytes:
        """The log of one run; the log of a container goes on from run to run, and is asked for by whole seconds.

        A live run's begins where the one before ended: what a quick server says first is often stamped before its own StartedAt.
        """
        with self._calls.asking(f"read the log of container {run.container}") as client:
            state = client.inspect_container(run.container)["State"]
            is_live = state["Running"] and state["StartedAt"] == run.started_at
            begin = str(state["FinishedAt"]) if is_live else run.started_at
            moment = engine_time(begin)
            since = 1 if moment is None else max(1, int(moment.timestamp()))
            found = bytes(client.logs(run.container, stdout=True, stderr=True, since=since, timestamps=True))
        stamped = (line.partition(b" ") for line in found.splitlines(keepends=True))
        return b"".join(line for stamp, _space, line in stamped if not is_before(stamp, begin))

    def tail_of_run(self, run: Run, lines: int) -> bytes:
        """The last lines of the log of a container's newest run."""
        with self._calls.asking(f"read the log of container {run.container}") as client:
            found = bytes(client.logs(run.container, stdout=True, stderr=True, tail=lines, timestamps=True))
        moment = engine_time(run.started_at)
        begin = run.started_at if moment is None else f"{(moment - _EARLY):%Y-%m-%dT%H:%M:%S.%f}Z"
        stamped = (line.partition(b" ") for line in found.splitlines(keepends=True))
        return b"".join(line for stamp, _space, line in stamped if not is_before(stamp, begin))
