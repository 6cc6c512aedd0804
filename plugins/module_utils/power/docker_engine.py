# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker Engine: calls in, values out. The only file that knows the Docker SDK's client and the keys of the Engine API.

No call outlives ``Connection.timeout`` without `EngineUnreachable`. The engine's own ``stop`` and ``restart`` are not here
on purpose: they outlive their caller, so a stop that was abandoned would still take a server down later.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .connection import Connection, Sdk, load_sdk
from .container_spec import LABEL_SERVER, WINGS_LABEL, NetworkSpec
from .errors import EngineError, EngineUnreachable, ImageUnavailable
from .model import ImageSeen, Run, Server, Snapshot, engine_time, parse_uuid
from .output import Output, release

#: Pauses between two looks at a pull, and how long a pull may go without any progress.
_LOOK_SECONDS = 0.5
_PULL_SILENCE_SECONDS = 60.0


#: 2026-01-31T12:00:00.123456789
_TIME_CHARACTERS = 29


class DockerEngine:
    """A Docker Engine behind its API, reached through the Docker SDK's low-level client: one keep-alive connection a thread."""

    def __init__(self, connection: Connection) -> None:
        self.timeout = float(connection.timeout)
        self.local = connection.host.startswith("unix://")
        self._connection = connection
        self._clients = threading.local()
        self._sdk_loaded: Sdk | None = None
        self._version: str | None = connection.api_version

    @property
    def _sdk(self) -> Sdk:
        if self._sdk_loaded is None:
            self._sdk_loaded = load_sdk()
        return self._sdk_loaded

    @property
    def _client(self) -> Any:
        client = getattr(self._clients, "client", None)
        if client is None:
            client = self._clients.client = self._connection.client(self._sdk, self._version)
            self._version = client.api_version
        return client

    @contextlib.contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Turn every way a call can fail into one of our errors."""
        sdk = self._sdk
        try:
            yield
        except sdk.api_error as answer:
            raise EngineError(f"Cannot {what}: {answer.explanation or answer}", status=answer.status_code) from answer
        except sdk.transport_errors as error:
            raise self._connection.unreachable(f"Cannot {what}", error) from error

    def inspect(self, name: str) -> Snapshot | None:
        """The container as it is now, or None. A server's is found by its label where somebody has renamed it while it runs."""
        found = self._inspect(name)
        if found is not None or parse_uuid(name) is None:
            return found
        renamed = self._renamed(name)
        return None if renamed is None else self._inspect(renamed)

    def _inspect(self, name: str) -> Snapshot | None:
        try:
            with self._asking(f"inspect container {name}"):
                return _snapshot(self._client.inspect_container(name))
        except EngineError as error:
            if error.facts.get("status") == 404:
                return None
            raise

    def _renamed(self, uuid: str) -> str | None:
        """The id of a live container of ours that is the server's, whatever its name."""
        filters = {"label": [f"{LABEL_SERVER}={uuid}"], "status": ["running", "paused", "restarting"]}
        with self._asking("list the containers"):
            found = self._client.containers(all=True, filters=filters)
        return str(found[0]["Id"]) if found else None

    def servers(self) -> list[Server]:
        """Every server that has a container of ours or of Wings; our label names it, Wings names the container by the uuid."""
        with self._asking("list the containers"):
            found = self._client.containers(all=True, filters={"label": [LABEL_SERVER]})
            found += self._client.containers(all=True, filters={"label": [WINGS_LABEL]})
        uuids = {}
        for row in found:
            labels = row.get("Labels") or {}
            uuid = parse_uuid(labels.get(LABEL_SERVER) or str((row.get("Names") or ["/"])[0]).lstrip("/"))
            if uuid is not None:
                uuids[uuid] = Server(uuid)
        return list(uuids.values())

    def signal(self, name: str, signal: str) -> bool:
        """Send a signal; False if nothing runs there (409 of this call means "not running")."""
        try:
            return self._call(f"send {signal} to container {name}", lambda: self._client.kill(name, signal=signal), gone=(409,))
        except EngineError as error:
            if error.facts.get("status") != 404:
                raise
        renamed = None if parse_uuid(name) is None else self._renamed(name)
        return renamed is not None and self.signal(renamed, signal)

    def unpause(self, name: str) -> None:
        """Let a paused container go on; one that is not paused is left alone (409)."""
        self._call(f"unpause container {name}", lambda: self._client.unpause(name), gone=(404, 409, 500))

    def forbid_restart(self, name: str) -> None:
        """Set the container's restart policy to ``no``."""
        self._call(
            f"set the restart policy of container {name}",
            lambda: self._client.update_container(name, restart_policy={"Name": "no"}),
            gone=(404,),
        )

    def write_stdin(self, name: str, text: str) -> None:
        """Write to the standard input of the container's process."""
        with self._asking(f"write to the standard input of container {name}"):
            raw = self._client.attach_socket(name, params={"stdin": 1, "stream": 1})
            try:
                sock = getattr(raw, "_sock", raw)
                sock.settimeout(self.timeout)
                sock.sendall(text.encode())
            finally:
                release(raw)

    def create(self, name: str, config: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Create a container; its id, and what the engine warns of."""
        with self._asking(f"create container {name}"):
            answer = self._client.create_container_from_config(dict(config), name)
        return str(answer["Id"]), list(answer.get("Warnings") or [])

    def remove(self, name: str, *, volumes: bool) -> bool:
        """Remove a container that does not run; False if it runs (409, unless a removal is in progress, which is waited for)."""
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                self._call(f"remove container {name}", lambda: self._client.remove_container(name, v=volumes, force=False), gone=(404,))
                return True
            except EngineError as error:
                if error.facts.get("status") != 409:
                    raise
                if "already in progress" not in str(error):
                    return False
                if time.monotonic() > deadline:
                    raise EngineUnreachable(f"Cannot remove container {name}: its removal has been in progress for too long") from error
                time.sleep(0.05)

    def rename(self, name: str, new_name: str) -> None:
        """Give a container another name."""
        with self._asking(f"rename container {name}"):
            self._client.rename(name, new_name)

    def start(self, name: str) -> None:
        """Start a container; the answer means that its process was started."""
        with self._asking(f"start container {name}"):
            self._client.start(name)

    def attach(self, name: str) -> Output:
        """The container's output from now on."""
        with self._asking(f"attach to container {name}"):
            raw = self._client.attach_socket(name, params={"stdout": 1, "stderr": 1, "stream": 1})
        return Output(raw)

    def log_tail(self, name: str, lines: int) -> bytes:
        """The last lines of the container's log."""
        with self._asking(f"read the log of container {name}"):
            return bytes(self._client.logs(name, stdout=True, stderr=True, tail=lines))

    def log_of_run(self, run: Run) -> bytes:
        """The log of one run; the log of a container goes on from run to run, and is asked for by whole seconds.

        A live run's begins where the one before ended: what a quick server says first is often stamped before its own StartedAt.
        """
        with self._asking(f"read the log of container {run.container}"):
            state = self._client.inspect_container(run.container)["State"]
            is_live = state["Running"] and state["StartedAt"] == run.started_at
            begin = str(state["FinishedAt"]) if is_live else run.started_at
            moment = engine_time(begin)
            since = 1 if moment is None else max(1, int(moment.timestamp()))
            found = bytes(self._client.logs(run.container, stdout=True, stderr=True, since=since, timestamps=True))
        stamped = (line.partition(b" ") for line in found.splitlines(keepends=True))
        return b"".join(line for stamp, _space, line in stamped if not _is_before(stamp, begin))

    def image(self, reference: str) -> ImageSeen | None:
        """An image that is on the node, or None."""
        try:
            with self._asking(f"inspect image {reference}"):
                found = self._client.inspect_image(reference)
        except EngineError as error:
            if error.facts.get("status") == 404:
                return None
            raise
        config = found.get("Config") or {}
        return ImageSeen(id=str(found["Id"]), healthcheck=_has_healthcheck(config), volumes=tuple(config.get("Volumes") or ()))

    def pull(self, reference: str, credentials: Mapping[str, str] | None, look: Callable[[], None]) -> None:
        """Pull an image in a thread that is abandoned when ``look`` raises or the engine shows no progress for a minute."""
        progress = _PullProgress()
        thread = threading.Thread(target=self._pull, args=(reference, credentials, progress), daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_LOOK_SECONDS)
            look()
            if progress.silence() > _PULL_SILENCE_SECONDS:
                raise EngineUnreachable(f"Cannot pull image {reference}: no progress for {_PULL_SILENCE_SECONDS:.0f} s")
        if isinstance(progress.fault, EngineUnreachable):
            raise progress.fault
        if progress.fault is not None:
            raise ImageUnavailable(f"Cannot pull image {reference}: {progress.fault}") from progress.fault

    def _pull(self, reference: str, credentials: Mapping[str, str] | None, progress: _PullProgress) -> None:
        try:
            with self._asking(f"pull image {reference}"):
                client = self._client
                # This thread's own client: a pull may be silent for longer than any other call.
                client.timeout = max(client.timeout, _PULL_SILENCE_SECONDS)
                for line in client.pull(reference, stream=True, decode=True, auth_config=dict(credentials) if credentials else None):
                    progress.seen(line)
        except (EngineError, EngineUnreachable, ValueError, RuntimeError) as error:
            # The last two are what the SDK makes of a progress stream that it cannot read.
            progress.fault = error

    def ensure_network(self, network: NetworkSpec) -> bool:
        """Create a network if it is not there; True if it was created (a 409 means that somebody else just did)."""
        if self._call(f"inspect network {network.name}", lambda: self._client.inspect_network(network.name), gone=(404,)):
            return False
        body = {"Name": network.name, "CheckDuplicate": True, **network.body}
        with self._asking(f"create network {network.name}"):
            answer = self._client._post_json(self._client._url("/networks/create"), data=body)
        return self._call(f"create network {network.name}", lambda: self._client._raise_for_status(answer), gone=(409,))

    def _call(self, what: str, call: Callable[[], object], *, gone: Sequence[int]) -> bool:
        """Whether the call was carried out; one of the statuses in ``gone`` means that there was nothing to do it to."""
        try:
            with self._asking(what):
                call()
        except EngineError as error:
            if error.facts.get("status") in gone:
                return False
            raise
        return True


class _PullProgress:
    """What the thread of a pull tells its waiter."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self._seen_at = time.monotonic()

    def seen(self, line: Mapping[str, Any]) -> None:
        self._seen_at = time.monotonic()
        if line.get("error"):
            self.fault = EngineError(str(line["error"]))

    def silence(self) -> float:
        return time.monotonic() - self._seen_at


def _is_before(stamp: bytes, moment: str) -> bool:
    """Whether a log line was written before a moment. The engine writes both times alike, but drops trailing zeros."""
    written = stamp.decode("ascii", "replace").rstrip("Z")
    return written.ljust(_TIME_CHARACTERS, "0") < moment.rstrip("Z").ljust(_TIME_CHARACTERS, "0")


def _has_healthcheck(config: Mapping[str, Any]) -> bool:
    test = (config.get("Healthcheck") or {}).get("Test") or []
    return bool(test) and test[0] != "NONE"


def _snapshot(found: Mapping[str, Any]) -> Snapshot:
    """Read an inspect answer. ``live`` is what holds a process: running, paused, or between two tries of a restart policy."""
    state, config, host = found["State"], found["Config"], found["HostConfig"]
    live = bool(state["Running"] or state["Paused"] or state["Restarting"])
    health = (state.get("Health") or {}).get("Status")
    return Snapshot(
        id=str(found["Id"]),
        name=str(found["Name"]).lstrip("/"),
        live=live,
        started_at=str(state["StartedAt"]),
        finished_at=str(state["FinishedAt"]),
        paused=bool(state["Paused"]),
        removing=state.get("Status") in ("removing", "dead"),
        pid=int(state.get("Pid") or 0),
        exit_code=None if live else int(state["ExitCode"]),
        oom_killed=bool(state["OOMKilled"]),
        health=None if health in (None, "none") else str(health),
        open_stdin=bool(config.get("OpenStdin")),
        tty=bool(config.get("Tty")),
        restart_policy=str((host.get("RestartPolicy") or {}).get("Name") or "no"),
        stop_signal=str(config.get("StopSignal") or "SIGTERM"),
        image=str(config.get("Image") or ""),
        image_id=str(found.get("Image") or ""),
        labels=dict(config.get("Labels") or {}),
        ports=frozenset(host.get("PortBindings") or ()) if live else frozenset(),
        environment=tuple(config.get("Env") or ()),
    )
