# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker Engine: calls in, values out. The only file that knows the calls of the Docker SDK's client.

What the engine says, registries' words among it, becomes one line of bounded length here, before anybody prints or writes it.

No call outlives ``Connection.timeout`` without `EngineUnreachable`. The engine's own ``stop`` and ``restart`` are not here
on purpose: they outlive their caller, so a stop that was abandoned would still take a server down later.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..model.clock import engine_time
from ..model.errors import EngineError, EngineUnreachable, ImageUnavailable
from ..model.model import ImageSeen, Run, Server, Snapshot, parse_uuid
from ..model.schema import one_line
from .connection import Connection
from .container_spec import LABEL_SERVER, LABEL_SPEC, NetworkSpec, made_by_us
from .engine_answers import CHANGES, claimed_server, image_of, is_before, publisher_of, server_in_event, server_of, snapshot_of
from .engine_clients import EngineClients
from .engine_events import EndEvents
from .engine_labels import LiveByLabel
from .engine_pull import SILENCE_SECONDS, Pull
from .engine_use import Use, use_of
from .output import Output
from .standard_input import write_once

#: How long an image that was seen is taken to be there: many servers of one call are made from the same one.
_IMAGE_SECONDS = 1.0
#: How much later than asked for a piece of the engine's events may end.
_EVENTS_SLACK_SECONDS = 2.0


class DockerEngine:
    """A Docker Engine behind its API, reached through the Docker SDK's low-level client, by any number of threads."""

    def __init__(self, connection: Connection) -> None:
        self.timeout = float(connection.timeout)
        self.local = connection.host.startswith("unix://")
        self._connection = connection
        self._clients = EngineClients(connection)
        self._end_events = EndEvents(self._ends)
        self._by_label = LiveByLabel(self._live_by_label)
        self._images: dict[str, tuple[float, ImageSeen]] = {}

    @contextlib.contextmanager
    def _asking(self, what: str, *, urgent: bool = False, own_seconds: float | None = None) -> Iterator[Any]:
        """A client to ask, a stream one of its own; every way in which the call can fail becomes one of our errors."""
        sdk = self._clients.sdk
        try:
            with contextlib.ExitStack() as stack:
                lent = self._clients.one(urgent=urgent) if own_seconds is None else self._clients.own(seconds=own_seconds)
                yield stack.enter_context(lent)
        except sdk.api_error as answer:
            raise EngineError(f"Cannot {what}: {one_line(str(answer.explanation or answer))}", status=answer.status_code) from answer
        except sdk.transport_errors as error:
            raise self._connection.unreachable(f"Cannot {what}", error, own_seconds) from error
        except KeyError as missing:
            # What the library makes of an error without its one key, as others than engines word theirs.
            if missing.args != ("message",):
                raise
            raise EngineError(f"Cannot {what}: the answer is none of an engine's; look at what stands between it and us") from missing

    def inspect(self, name: str) -> Snapshot | None:
        """The container as it is now, or None. A server's is found by its labels where somebody has renamed it while it runs."""
        found = self._inspect(name)
        return self._renamed(name) if found is None else found

    def _inspect(self, name: str) -> Snapshot | None:
        found = self._unless_missing(f"inspect container {name}", lambda client: client.inspect_container(name))
        return None if found is None else snapshot_of(found)

    def _renamed(self, name: str) -> Snapshot | None:
        """The live container that was made for a server and has lost its name; None for a name that is no server's."""
        ids = () if parse_uuid(name) is None else self._by_label.of(name)
        return next((found for found in map(self._inspect, ids) if found is not None and made_by_us(found, name)), None)

    def _live_by_label(self) -> dict[str, list[str]]:
        """The ids of live containers by the servers that they claim to be, whatever their names."""
        filters = {"label": [LABEL_SERVER, LABEL_SPEC], "status": ["running", "paused", "restarting"]}
        found: dict[str, list[str]] = {}
        with self._asking("list the containers") as client:
            for row in client.containers(all=True, filters=filters):
                found.setdefault(str(row["Labels"][LABEL_SERVER]), []).append(str(row["Id"]))
        return found

    def servers(self) -> list[Server]:
        """Every server that has a container of ours or of Wings."""
        with self._asking("list the containers") as client:
            # The engine's filter knows no "or": one list of everything costs less than two.
            rows = client.containers(all=True)
        uuids = dict.fromkeys(server_of(row) or self._renamed_server(row) for row in rows)
        return [Server(uuid) for uuid in uuids if uuid is not None]

    def publisher(self, published: str, address: str) -> str | None:
        """The name of the live container that has published a port; see `Engine`."""
        with self._asking(f"list who has published port {published}") as client:
            rows = client.containers(filters={"publish": published})
        return next((name for row in rows if (name := publisher_of(row, published, address))), None)

    def _renamed_server(self, row: Mapping[str, Any]) -> str | None:
        claimed = claimed_server(row)
        found = None if claimed is None else self._inspect(str(row["Id"]))
        return claimed if claimed is not None and found is not None and made_by_us(found, claimed) else None

    def signal(self, name: str, signal: str) -> bool:
        """Send a signal; False if nothing runs there (409 of this call means "not running")."""
        try:
            what, urgent = f"send {signal} to container {name}", signal == "SIGKILL"
            return self._call(what, lambda client: client.kill(name, signal=signal), gone=(409,), urgent=urgent)
        except EngineError as error:
            if error.facts.get("status") != 404:
                raise
        renamed = self._renamed(name)
        return renamed is not None and self.signal(renamed.id, signal)

    def unpause(self, name: str) -> None:
        """Let a paused container go on; one that is not paused is left alone (409)."""
        self._call(f"unpause container {name}", lambda client: client.unpause(name), gone=(404, 409, 500))

    def forbid_restart(self, name: str) -> None:
        """Set the container's restart policy to ``no``."""
        self._call(
            f"set the restart policy of container {name}",
            lambda client: client.update_container(name, restart_policy={"Name": "no"}),
            gone=(404,),
        )

    def write_stdin(self, name: str, text: str, *, taken_within: float | None = None) -> None:
        """Write to the standard input of the container's process; see `Engine`."""
        what, data = f"write to the standard input of container {name}", text.encode()
        with self._asking(what, own_seconds=taken_within) as client:
            raw = client.attach_socket(name, params={"stdin": 1, "stream": 1})
            taken = write_once(raw, data, taken_within or self.timeout, until_taken=taken_within is not None)
        if not taken:
            raise EngineError(f"Cannot {what}: its process does not read it", not_read=True)

    def create(self, name: str, config: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Create a container; its id, and what the engine warns of."""
        with self._asking(f"create container {name}") as client:
            answer = client.create_container_from_config(dict(config), name)
        return str(answer["Id"]), [one_line(str(warning)) for warning in answer.get("Warnings") or []]

    def remove(self, name: str, *, volumes: bool) -> bool:
        """Remove a container that does not run; False if it runs (409, unless a removal is in progress, which is waited for)."""
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                self._call(f"remove container {name}", lambda client: client.remove_container(name, v=volumes, force=False), gone=(404,))
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
        with self._asking(f"rename container {name}") as client:
            client.rename(name, new_name)

    def start(self, name: str) -> None:
        """Start a container; the answer means that its process was started."""
        with self._asking(f"start container {name}") as client:
            client.start(name)

    def attach(self, name: str) -> Output:
        """The container's output from now on."""
        with self._asking(f"attach to container {name}", own_seconds=self.timeout) as client:
            raw = client.attach_socket(name, params={"stdout": 1, "stderr": 1, "stream": 1})
        return Output(raw)

    def log_tail(self, name: str, lines: int) -> bytes:
        """The last lines of the container's log."""
        with self._asking(f"read the log of container {name}") as client:
            return bytes(client.logs(name, stdout=True, stderr=True, tail=lines))

    def log_of_run(self, run: Run) -> bytes:
        """The log of one run; the log of a container goes on from run to run, and is asked for by whole seconds.

        A live run's begins where the one before ended: what a quick server says first is often stamped before its own StartedAt.
        """
        with self._asking(f"read the log of container {run.container}") as client:
            state = client.inspect_container(run.container)["State"]
            is_live = state["Running"] and state["StartedAt"] == run.started_at
            begin = str(state["FinishedAt"]) if is_live else run.started_at
            moment = engine_time(begin)
            since = 1 if moment is None else max(1, int(moment.timestamp()))
            found = bytes(client.logs(run.container, stdout=True, stderr=True, since=since, timestamps=True))
        stamped = (line.partition(b" ") for line in found.splitlines(keepends=True))
        return b"".join(line for stamp, _space, line in stamped if not is_before(stamp, begin))

    def use(self, name: str) -> Use | None:
        """What the container uses now, without a wait for a second look; None if it does not run."""
        what = f"read what container {name} uses"
        found = self._unless_missing(what, lambda client: client.stats(name, stream=False, one_shot=True))
        return None if found is None else use_of(found)

    def image(self, reference: str) -> ImageSeen | None:
        """An image that is on the node, or None; as it was at most a second ago, but never as it was before a pull of ours."""
        images, asked_at = self._images, time.monotonic()
        known = images.get(reference)
        if known is not None and asked_at - known[0] < _IMAGE_SECONDS:
            return known[1]
        try:
            found = self._unless_missing(f"inspect image {reference}", lambda client: client.inspect_image(reference))
        except EngineError as error:
            if error.facts.get("status") != 400:
                raise
            raise ImageUnavailable(f"{error}; correct settings.container.image") from error
        if found is None:
            return None
        seen = image_of(found)
        images[reference] = asked_at, seen
        return seen

    def pull(self, reference: str, credentials: Mapping[str, str] | None, check_cancelled: Callable[[], None]) -> None:
        """Pull an image; see `Pull`."""

        def lines() -> Iterator[Mapping[str, Any]]:
            try:
                # A pull may be silent for longer than any other call.
                with self._asking(f"pull image {reference}", own_seconds=max(self.timeout, SILENCE_SECONDS)) as client:
                    yield from client.pull(reference, stream=True, decode=True, auth_config=dict(credentials) if credentials else None)
            finally:
                # Not emptied: who asked before the pull may still be about to note the answer.
                self._images = {}

        Pull(reference, lines).run(check_cancelled)

    def ensure_network(self, network: NetworkSpec) -> bool:
        """Create a network if it is not there; True if it was created (a 409 means that somebody else just did)."""
        if self._call(f"inspect network {network.name}", lambda client: client.inspect_network(network.name), gone=(404,)):
            return False
        body = {"Name": network.name, "CheckDuplicate": True, **network.body}

        def create(client: Any) -> None:
            client._raise_for_status(client._post_json(client._url("/networks/create"), data=body))

        return self._call(f"create network {network.name}", create, gone=(409,))

    def await_end_hint(self, container: str, seconds: float, *, begin: bool) -> bool | None:
        """Wait for the engine to tell that a container's process has ended; see `Engine`. Only one on this machine has our clock."""
        return self._end_events.wait(container, seconds, begin=begin) if self.local else None

    def _ends(self, since: float, until: float) -> Iterator[str]:
        return (str(event["id"]) for event in self._events(("die",), since, until))

    def changed_servers(self, since: float, until: float) -> Iterator[str]:
        """The servers to whose containers something happens that may change their state; see `Engine`."""
        return (uuid for event in self._events(CHANGES, since, until) if (uuid := server_in_event(event)) is not None)

    def _events(self, names: Sequence[str], since: float, until: float) -> Iterator[Mapping[str, Any]]:
        filters = {"type": ["container"], "event": list(names)}
        with self._asking("read the engine's events", own_seconds=until - time.time() + _EVENTS_SLACK_SECONDS) as client:
            yield from client.events(since=f"{since:.6f}", until=f"{until:.6f}", filters=filters, decode=True)

    def facts(self) -> Mapping[str, Any]:
        """What the engine says of itself and its machine, in its own words."""
        with self._asking("ask the engine what it is") as client:
            return dict(client.info())

    def _unless_missing(self, what: str, call: Callable[[Any], Any]) -> Any:
        """What the call answers; None where there is no such thing."""
        try:
            with self._asking(what) as client:
                return call(client)
        except EngineError as error:
            if error.facts.get("status") == 404:
                return None
            raise

    def _call(self, what: str, call: Callable[[Any], object], *, gone: Sequence[int], urgent: bool = False) -> bool:
        """Whether the call was carried out; one of the statuses in ``gone`` means that there was nothing to do it to."""
        try:
            with self._asking(what, urgent=urgent) as client:
                call(client)
        except EngineError as error:
            if error.facts.get("status") in gone:
                return False
            raise
        return True
