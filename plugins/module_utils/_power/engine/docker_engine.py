# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker Engine. Only this file and the ``engine_*`` files know the Docker SDK's client.

Every call ends within ``Connection.timeout``, or raises `EngineUnreachable`. The engine's ``stop`` and ``restart`` are never used: they
outlive their caller, so an abandoned stop would still take a server down later.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..container.container_labels import LABEL_SERVER, LABEL_SPEC, claims_to_be, made_by_us, made_by_wings, name_in_labels
from ..container.container_network import NetworkSpec
from ..model.cancellation import Deadline, wait_until
from ..model.clock import SYSTEM_CLOCK, engine_time
from ..model.errors import ENGINE_FAULTS, EngineError, EngineUnreachable, PowerError
from ..model.schema import one_line
from ..model.server import ListedContainer, Run, Server, Snapshot, parse_uuid
from .connection import Connection
from .engine_answers import LIVE, Use, claimed_server, lines_since, listed_of, publisher_of, server_of, snapshot_of, use_of
from .engine_calls import EngineCalls, tolerating
from .engine_events import DockerEvents
from .engine_images import DockerImages
from .engine_version import EngineVersion
from .output import Output, write_once

if TYPE_CHECKING:
    from .engine_commands import CommandRunner

#: The first lines of a run may be stamped this much before its StartedAt.
_EARLY = timedelta(milliseconds=100)
#: Seconds between two looks at a removal that something else requested.
_LOOK_SECONDS = 0.05
#: The longest wait for a network that another process is creating.
_NETWORK_SECONDS = 5.0
_READ_BYTES = 65536


class LiveByLabel:
    """Answers questions from few lists, each requested after its questions. ``read`` returns container ids by claimed UUID."""

    def __init__(self, read: Callable[[], Mapping[str, Sequence[str]]]) -> None:
        self._read = read
        self._reading = threading.Lock()
        self._begun = -math.inf
        self._answer: Mapping[str, Sequence[str]] | PowerError = {}

    def of(self, uuid: str) -> Sequence[str]:
        """Return the ids of live containers that claim to belong to the server, whatever their names. Raises as ``read``."""
        asked = time.monotonic()
        with self._reading:
            # A list that was requested after the question may have come while this thread waited.
            if self._begun <= asked:
                self._begun = time.monotonic()
                self._answer = EngineError("Cannot list the containers: another question for them failed")
                try:
                    self._answer = self._read()
                except PowerError as error:
                    self._answer = error
            answer = self._answer
        if isinstance(answer, PowerError):
            # Each caller raises its own exception.
            raise type(answer)(str(answer), **answer.facts) from answer
        return answer.get(uuid, ())


class DockerLogs:
    """Reads the output of containers: live, and from the engine's log."""

    def __init__(self, calls: EngineCalls) -> None:
        self._calls = calls

    def attach(self, name: str) -> Output:
        """Return the container's output from now on; attach before the start to miss nothing."""
        with self._calls.asking(f"attach to container {name}", own_seconds=self._calls.timeout) as client:
            raw = client.attach_socket(name, params={"stdout": 1, "stderr": 1, "stream": 1})
        return Output(raw)

    def tail(self, name: str, lines: int) -> bytes:
        with self._calls.asking(f"read the log of container {name}") as client:
            return bytes(client.logs(name, stdout=True, stderr=True, tail=lines))

    def follow(self, name: str, lines: int) -> Iterator[bytes]:
        """Yield the last lines of the log, then new output until the end of the run."""
        params = {"stdout": 1, "stderr": 1, "tail": lines, "follow": 1}
        with self._calls.asking(f"follow the log of container {name}") as client:
            tty = client._check_is_tty(name)
            answer = client._get(client._url("/containers/{0}/logs", name), params=params, stream=True)
            client._raise_for_status(answer)
            # `logs` of the SDK reads each byte of a terminal alone.
            yield from client._stream_raw_result(answer, _READ_BYTES, False) if tty else client._multiplexed_response_stream_helper(answer)

    def of_run(self, run: Run) -> bytes:
        """Return the log of one run. A container's log continues from run to run, and the engine selects by whole seconds.

        The log of a live run begins at the end of the run before: early lines are often stamped before StartedAt.
        """
        with self._calls.asking(f"read the log of container {run.container}") as client:
            state = client.inspect_container(run.container)["State"]
            is_live = state["Running"] and state["StartedAt"] == run.started_at
            begin = str(state["FinishedAt"]) if is_live else run.started_at
            moment = engine_time(begin)
            since = 1 if moment is None else max(1, int(moment.timestamp()))
            found = bytes(client.logs(run.container, stdout=True, stderr=True, since=since, timestamps=True))
        return lines_since(begin, found)

    def has_beginning_of(self, run: Run) -> bool:
        """Tell if the log has a line from before a run or from its first second. If not, its beginning may be rotated away."""
        moment = engine_time(run.started_at)
        if moment is None:
            return False
        # The engine selects by whole seconds.
        params = {"stdout": 1, "stderr": 1, "until": int(moment.timestamp()) + 2}
        with self._calls.asking(f"read the log of container {run.container}") as client:
            # One byte is enough: the logs of earlier runs may be long. The SDK's own stream may have no timeout.
            answer = client._get(client._url("/containers/{0}/logs", run.container), params=params, stream=True)
            with contextlib.closing(answer):
                client._raise_for_status(answer)
                return any(answer.iter_content(1))

    def tail_of_run(self, run: Run, lines: int) -> bytes:
        """Return the last lines of the log of the newest run."""
        with self._calls.asking(f"read the log of container {run.container}") as client:
            found = bytes(client.logs(run.container, stdout=True, stderr=True, tail=lines, timestamps=True))
        moment = engine_time(run.started_at)
        return lines_since(run.started_at if moment is None else f"{(moment - _EARLY):%Y-%m-%dT%H:%M:%S.%f}Z", found)


class DockerContainers:
    """Makes, changes and removes containers and their networks."""

    def __init__(self, calls: EngineCalls) -> None:
        self._calls = calls

    def create(self, name: str, config: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Create a container; return its id and the engine's warnings."""
        with self._calls.asking(f"create container {name}") as client:
            answer = client.create_container_from_config(dict(config), name)
        return str(answer["Id"]), [one_line(str(warning)) for warning in answer.get("Warnings") or []]

    def remove(self, name: str, *, volumes: bool) -> bool:
        """Remove a stopped or missing container; False if it runs (409, unless a removal is in progress, which this waits for)."""
        deadline = Deadline.after(SYSTEM_CLOCK, self._calls.timeout)
        while True:
            try:
                with tolerating(404), self._calls.asking(f"remove container {name}") as client:
                    client.remove_container(name, v=volumes, force=False)
                return True
            except EngineError as error:
                if error.facts.get("status") != 409:
                    raise
                found = self._calls.unless_missing(f"inspect container {name}", lambda client: client.inspect_container(name))
                if found is not None and not snapshot_of(found).removing:
                    return False
                if deadline.is_over:
                    raise EngineUnreachable(f"Cannot remove container {name}: its removal has been in progress for too long") from error
                deadline.pause(_LOOK_SECONDS)

    def rename(self, name: str, new_name: str) -> None:
        with self._calls.asking(f"rename container {name}") as client:
            client.rename(name, new_name)

    def forbid_restart(self, name: str) -> None:
        with tolerating(404), self._calls.asking(f"set the restart policy of container {name}") as client:
            client.update_container(name, restart_policy={"Name": "no"})

    def set_limits(self, name: str, body: Mapping[str, Any]) -> list[str]:
        """Change the limits of a container, also while it runs; return the engine's warnings. After `EngineError`, some may apply."""
        with self._calls.asking(f"change the limits of container {name}") as client:
            # The SDK's own call lacks the pids limit.
            answer = client._result(client._post_json(client._url("/containers/{0}/update", name), data=dict(body)), json=True)
        return [one_line(str(warning)) for warning in answer.get("Warnings") or []]

    def ensure_network(self, network: NetworkSpec) -> bool:
        """Create a missing network; True if it was created (a 409 means that another process just did)."""
        if self._has_network(network.name):
            return False
        body = {"Name": network.name, "CheckDuplicate": True, **network.body}
        try:
            with tolerating(409), self._calls.asking(f"create network {network.name}") as client:
                client._raise_for_status(client._post_json(client._url("/networks/create"), data=body))
                return True
        except EngineError:
            # The network of another process may have its addresses already, and no name yet.
            deadline = Deadline.after(SYSTEM_CLOCK, _NETWORK_SECONDS)
            if not wait_until(lambda: self._has_network(network.name), deadline, every=_LOOK_SECONDS):
                raise
        return False

    def _has_network(self, name: str) -> bool:
        return self._calls.unless_missing(f"inspect network {name}", lambda client: client.inspect_network(name)) is not None


class DockerEngine:
    """Sees containers and acts on their processes. Thread-safe. A ``name`` is a container's id or name.

    Return values report a missing container. Each call takes at most ``timeout`` seconds, apart from deliberate waits. A ``local`` engine's
    containers use this machine's addresses and ports.
    """

    def __init__(self, connection: Connection) -> None:
        self._calls = EngineCalls(connection)
        self.timeout = self._calls.timeout
        self.host = connection.host
        self.local = self.host.startswith("unix://")
        self.containers = DockerContainers(self._calls)
        self.images = DockerImages(self._calls)
        self.logs = DockerLogs(self._calls)
        self.events = DockerEvents(self._calls, local=self.local)
        self._by_label = LiveByLabel(self._live_by_label)
        self._loading = threading.Lock()
        self._commands: CommandRunner | None = None

    @property
    def commands(self) -> CommandRunner:
        # Loaded with the first command. One for all threads: it keeps commands of one container apart.
        from .engine_commands import CommandRunner

        with self._loading:
            self._commands = self._commands or CommandRunner(self._calls, local=self.local)
        return self._commands

    def inspect(self, name: str) -> Snapshot | None:
        """Return the container as it is now, or None. A live, renamed container of a server is found by its labels."""
        found = self._inspect(name)
        return self._renamed(name) if found is None else found

    def _inspect(self, name: str) -> Snapshot | None:
        found = self.raw(name)
        return None if found is None else snapshot_of(found)

    def raw(self, name: str) -> Any:
        """Return the engine's own answer about a container, or None."""
        return self._calls.unless_missing(f"inspect container {name}", lambda client: client.inspect_container(name))

    def is_server(self, container: str) -> bool:
        """Tell by a container's id if it is a server's, or an installer of Wings. Raises `EngineError`."""
        found = self._inspect(container)
        return found is not None and (made_by_wings(found.labels) or claims_to_be(found.labels) is not None)

    def _renamed(self, name: str) -> Snapshot | None:
        ids = () if parse_uuid(name) is None else self._by_label.of(name)
        return next((found for found in map(self._inspect, ids) if found is not None and made_by_us(found, name)), None)

    def _live_by_label(self) -> dict[str, list[str]]:
        filters = {"label": [LABEL_SERVER, LABEL_SPEC], "status": list(LIVE)}
        found: dict[str, list[str]] = {}
        with self._calls.asking("list the containers") as client:
            for row in client.containers(all=True, filters=filters):
                found.setdefault(str(row["Labels"][LABEL_SERVER]), []).append(str(row["Id"]))
        return found

    def servers(self) -> list[Server]:
        """Return every server with a container of ours or of Wings; ours give the name at their creation."""
        with self._calls.asking("list the containers") as client:
            # The engine's filter has no "or": one list of everything costs less than two.
            rows = client.containers(all=True)
        names: dict[str, str] = {}
        for row in rows:
            uuid = server_of(row) or self._renamed_server(row)
            if uuid is not None:
                # The newest container is listed first, and has the newer name.
                names[uuid] = names.get(uuid) or name_in_labels(row.get("Labels") or {}, uuid)
        return [Server(uuid, name) for uuid, name in names.items()]

    def listed(self) -> list[ListedContainer]:
        """Return every container of a server. Only a live, renamed container of ours costs a call of its own."""
        with self._calls.asking("list the containers") as client:
            rows = client.containers(all=True)
        return [found for row in rows if (found := listed_of(row, self._renamed_perhaps)) is not None]

    def _renamed_perhaps(self, row: Mapping[str, Any]) -> str | None:
        """As `_renamed_server`, but trust the label if the container cannot be inspected: one failure must not hide the others."""
        try:
            return self._renamed_server(row)
        except ENGINE_FAULTS:
            return claimed_server(row)

    def publisher(self, published: str, address: str) -> str | None:
        """Return the name of the live container that publishes a port such as ``25565/tcp`` on an address or on all; else None."""
        with self._calls.asking(f"list who has published port {published}") as client:
            rows = client.containers(filters={"publish": published})
        return next((name for row in rows if (name := publisher_of(row, published, address))), None)

    def _renamed_server(self, row: Mapping[str, Any]) -> str | None:
        claimed = claimed_server(row)
        found = None if claimed is None else self._inspect(str(row["Id"]))
        return claimed if claimed is not None and found is not None and made_by_us(found, claimed) else None

    def signal(self, name: str, signal: str) -> bool:
        """Send a signal; False if nothing runs there (not running, which is a 409, or no such container)."""
        with tolerating(404):
            with tolerating(409), self._calls.asking(f"send {signal} to container {name}", urgent=signal == "SIGKILL") as client:
                client.kill(name, signal=signal)
                return True
            return False
        renamed = self._renamed(name)
        return renamed is not None and self.signal(renamed.id, signal)

    def unpause(self, name: str) -> None:
        """Continue a paused container; any other container stays as it is (409)."""
        with tolerating(404, 409, 500), self._calls.asking(f"unpause container {name}") as client:
            client.unpause(name)

    def write_stdin(self, name: str, text: str, *, taken_within: float | None = None) -> None:
        """Write to the standard input of the process; return when the engine has the text.

        With ``taken_within`` seconds, return when the process's pipe has it: `EngineError` with the fact ``not_read`` if that is full.
        """
        what, data = f"write to the standard input of container {name}", text.encode()
        with self._calls.asking(what, own_seconds=taken_within) as client:
            raw = client.attach_socket(name, params={"stdin": 1, "stream": 1})
            taken = write_once(raw, data, taken_within or self._calls.timeout, until_taken=taken_within is not None)
        if not taken:
            raise EngineError(f"Cannot {what}: its process does not read it", not_read=True)

    def start(self, name: str) -> None:
        """Start a container; return after its process has started."""
        with self._calls.asking(f"start container {name}") as client:
            client.start(name)

    def use(self, name: str) -> Use | None:
        """Return the current use, without a second sample; None if it does not run."""
        with tolerating(404), self._calls.asking(f"read what container {name} uses") as client:
            # The call of SDK 5 cannot ask for one sample alone.
            answer = client._get(client._url("/containers/{0}/stats", name), params={"stream": False, "one-shot": True})
            return use_of(client._result(answer, json=True))
        return None

    @property
    def warnings(self) -> Sequence[str]:
        """Return faults of the engine's version; none before it was asked for it."""
        return self._calls.warnings

    def version(self) -> EngineVersion:
        """Ask the engine for its version. Raises `EngineError` for an engine that is too old."""
        return self._calls.version()

    def facts(self) -> Mapping[str, Any]:
        """Return the engine's own description of itself and its machine."""
        with self._calls.asking("ask the engine what it is") as client:
            return dict(client.info())
