# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake engine and clock. Time passes only in ``sleep``. A call can fail before it runs, or after it, which loses only the answer."""

from __future__ import annotations

import itertools
import queue
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._power.container.container_labels import WAITING, name_in_labels
from ansible_collections.fleet.power.plugins.module_utils._power.container.container_limits import limits_of
from ansible_collections.fleet.power.plugins.module_utils._power.container.container_network import NetworkSpec
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_answers import Use
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_commands import CommandEnd
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_version import EngineVersion
from ansible_collections.fleet.power.plugins.module_utils._power.engine.event_stream import ContainerEvent
from ansible_collections.fleet.power.plugins.module_utils._power.engine.output import Output
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineError, EngineUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import (
    NEVER_STARTED,
    ImageSeen,
    ListedContainer,
    Run,
    Server,
    Snapshot,
    parse_uuid,
)

#: Our field for each limit of the engine.
LIMIT_FIELDS = {
    "Memory": "memory",
    "MemoryReservation": "reservation",
    "MemorySwap": "memory_swap",
    "CpuQuota": "cpu_quota",
    "CpuPeriod": "cpu_period",
    "CpuShares": "cpu_shares",
    "CpusetCpus": "cpus",
    "BlkioWeight": "io_weight",
    "PidsLimit": "pids",
}
NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)


class FakeClock:
    def __init__(self) -> None:
        self._passed = 0.0
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[[], object]]] = []

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self._passed)

    def monotonic(self) -> float:
        return self._passed

    def sleep(self, seconds: float) -> None:
        until = self._passed + seconds
        while self._due and self._due[0][0] <= until:
            moment, _unused, happening = self._due.pop(0)
            self._passed = max(self._passed, moment)
            happening()
        self._passed = max(self._passed, until)

    def after(self, seconds: float, happening: Callable[[], object]) -> None:
        """Call ``happening`` after that many seconds."""
        self._due.append((self._passed + seconds, next(self._order), happening))
        self._due.sort(key=lambda due: due[:2])


class FakeOutput(Output):
    """An attached output that yields these chunks. None is a read without data, ``b""`` the end."""

    def __init__(self, clock: FakeClock, *chunks: bytes | None) -> None:
        super().__init__(None)
        self._clock = clock
        self._chunks = list(chunks)
        self._ended = False
        self.closed = False

    def read(self, seconds: float) -> bytes | None:
        chunk = self._chunks.pop(0) if self._chunks else None
        assert not self._ended
        self._ended = chunk == b""
        if chunk is None:
            self._clock.sleep(seconds)
        return chunk

    def close(self) -> None:
        self.closed = True


class FakeContainers(dict[str, Snapshot]):
    def __init__(self, engine: FakeEngine) -> None:
        super().__init__()
        self._engine = engine

    def create(self, name: str, config: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Create a container; its id is a number of 64 digits."""
        self._engine.begin("create")
        self._engine.calls.append(("create", name))
        if self._engine.find(name) is not None:
            raise EngineError("the name is in use", status=409)
        identity = f"{next(self._engine.count):064d}"
        self._engine.put(
            Snapshot(
                id=identity,
                name=name,
                live=False,
                started_at=NEVER_STARTED,
                open_stdin=True,
                tty=True,
                stop_signal="SIGTERM",
                image=str(config["Image"]),
                labels=dict(config["Labels"]),
                environment=tuple(config["Env"]),
                hostname=str(config["Hostname"]),
                limits=limits_of(config.get("HostConfig", {})),
            )
        )
        self._engine.happen(self._engine.after["create"])
        return identity, []

    def remove(self, name: str, *, volumes: bool) -> bool:
        """Remove a container that does not run; False if it runs."""
        self._engine.begin("remove")
        self._engine.calls.append(("remove", "volumes" if volumes else "alone"))
        found = self._engine.find(name)
        if found is not None and found.live:
            return False
        if found is not None:
            del self[found.id]
        self._engine.happen(self._engine.after["remove"])
        return True

    def rename(self, name: str, new_name: str) -> None:
        self._engine.ask(("rename",), name, lambda found: self._engine.put(replace(found, name=new_name)))

    def forbid_restart(self, name: str) -> None:
        """Set the restart policy to ``no``."""
        self._engine.ask(("forbid_restart",), name, lambda found: self._engine.put(replace(found, restart_policy="no")))

    def set_limits(self, name: str, body: Mapping[str, Any]) -> list[str]:
        """Change limits by the engine's rules: 0 and empty change nothing. It discards the limits in ``unable``."""
        given = {key: value for key, value in body.items() if value not in (0, "") and key not in self._engine.unable}

        def change(found: Snapshot) -> None:
            fields = {name: getattr(found.limits, field) for name, field in LIMIT_FIELDS.items()}
            self._engine.put(replace(found, limits=limits_of({**fields, **given})))

        self._engine.ask(("set_limits", str(dict(body))), name, change)
        return [f"{key} discarded" for key in body if key in self._engine.unable]

    def ensure_network(self, network: NetworkSpec) -> bool:
        created = network.name not in self._engine.networks
        self._engine.networks.add(network.name)
        return created


class FakeImages(dict[str, ImageSeen]):
    def __init__(self, engine: FakeEngine) -> None:
        super().__init__({"game:1": ImageSeen("sha256:1")})
        self._engine = engine

    def find(self, reference: str) -> ImageSeen | None:
        return self.get(reference)

    def pull(self, reference: str, credentials: Mapping[str, str] | None, check_cancelled: Callable[[], None]) -> None:
        self._engine.begin("pull")
        check_cancelled()
        self._engine.calls.append(("pull", reference))
        self[reference] = ImageSeen(f"sha256:{next(self._engine.count)}")


class FakeLogs(defaultdict[str, bytes]):
    def __init__(self, engine: FakeEngine) -> None:
        super().__init__(bytes)
        self._engine = engine
        self.rotated = False

    def attach(self, name: str) -> Output:
        self._engine.begin("attach")
        self._engine.calls.append(("attach",))
        return self._engine.output

    def tail(self, name: str, lines: int) -> bytes:
        return self[name]

    def of_run(self, run: Run) -> bytes:
        self._engine.begin("log")
        return self[run.container]

    def has_beginning_of(self, run: Run) -> bool:
        return not self.rotated

    def tail_of_run(self, run: Run, lines: int) -> bytes:
        return self[run.container]


class FakeEvents:
    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self.streams: list[FakeEventStream] = []
        self.serving = True

    def await_end_hint(self, container: str, seconds: float, *, begin: bool) -> bool | None:
        """The answer of the test's ``hints``."""
        return self._engine.hints(container, seconds, begin)

    def changed_servers(self, since: float, until: float) -> Iterator[str]:
        return iter(())

    def follow(self, since: int | None) -> FakeEventStream:
        self._engine.begin("follow")
        self.streams.append(FakeEventStream(since))
        return self.streams[-1]

    def is_serving(self, seconds: float) -> bool:
        return self.serving


class FakeEventStream:
    """Events from the test. The stream raises an exception and ends at None."""

    def __init__(self, since: int | None) -> None:
        self.since = since
        self.closed = False
        self._events: queue.Queue[ContainerEvent | Exception | None] = queue.Queue()

    def put(self, event: ContainerEvent | Exception | None) -> None:
        self._events.put(event)

    def __iter__(self) -> FakeEventStream:
        return self

    def __next__(self) -> ContainerEvent:
        event = None if self.closed else self._events.get()
        if isinstance(event, Exception):
            raise event
        if event is None:
            raise StopIteration
        return event

    def close(self) -> None:
        self.closed = True
        self._events.put(None)


class FakeCommands:
    """Commands in containers. Each takes its end from ``ends``, or ends with code 0. ``ran`` lists them."""

    def __init__(self) -> None:
        self.ends: list[CommandEnd] = []
        self.ran: list[tuple[str, ...]] = []

    def run(self, container: str, words: Sequence[str], *, seconds: float, most_bytes: int) -> CommandEnd:
        self.ran.append(tuple(words))
        return self.ends.pop(0) if self.ends else CommandEnd(0)


class FakeEngine:
    """An engine in memory. A process ends ``stop_seconds`` after a signal of ``heeds`` or the command ``stop``, unless it is ``immortal``.
    With ``crash``, each start ends at once with this code. ``before`` and ``after`` have functions for the next call of a name."""

    def __init__(self, clock: FakeClock) -> None:
        self.timeout = 60.0
        self.clock = clock
        self.containers = FakeContainers(self)
        self.local, self.host = False, ""
        self.images = FakeImages(self)
        self.networks: set[str] = set()
        self.logs = FakeLogs(self)
        self.events = FakeEvents(self)
        self.commands = FakeCommands()
        self.output = FakeOutput(clock)
        self.warnings: tuple[str, ...] = ()
        self.version = lambda: EngineVersion("28.5.2", "1.51", "1.51")
        self.calls: list[tuple[str, ...]] = []
        self.witness: Callable[[str], object] = lambda call: None
        self.before: dict[str, list[Callable[[], object]]] = defaultdict(list)
        self.after: dict[str, list[Callable[[], object]]] = defaultdict(list)
        self.heeds = {"SIGTERM", "SIGINT"}
        self.stop_seconds = 0.0
        self.immortal = False
        self.crash: int | None = None
        self.unable: set[str] = set()
        self.used: Use | None = None
        self.hints: Callable[[str, float, bool], bool | None] = lambda container, seconds, begin: None
        self.count = itertools.count(1)

    def fail(self, call: str, error: Exception, *, late: bool = False, times: int = 1) -> None:
        """Make the next calls raise, before their execution or (``late``) after it."""
        (self.after if late else self.before)[call].extend([_raiser(error)] * times)

    def silence(self, call: str, *, late: bool = False, times: int = 1) -> None:
        self.fail(call, EngineUnreachable(f"Cannot {call}: no answer"), late=late, times=times)

    def refuse(self, call: str, message: str = "refused", *, status: int = 400) -> None:
        self.fail(call, EngineError(message, status=status, no_effect=status < 500))

    def find(self, name: str) -> Snapshot | None:
        return self.containers.get(name) or next((each for each in self.containers.values() if each.name == name), None)

    def changes(self) -> list[str]:
        return [call[0] for call in self.calls]

    def inspect(self, name: str) -> Snapshot | None:
        self.happen(self.before["inspect"])
        found = self.find(name)
        self.happen(self.after["inspect"])
        return found

    def servers(self) -> list[Server]:
        named = [each for each in self.containers.values() if parse_uuid(each.name)]
        return [Server(each.name, name_in_labels(each.labels, each.name)) for each in named]

    def listed(self) -> list[ListedContainer]:
        """Every container with the name of a server or of a waiting container."""
        self.happen(self.before["listed"])
        waiting = [each for each in self.containers.values() if each.name.endswith(WAITING)]
        named = [each for each in self.containers.values() if parse_uuid(each.name)]
        found = [ListedContainer(each.name[:36], each.id, each.live, waiting=True) for each in waiting]
        return [*(ListedContainer(each.name, each.id, each.live, unhealthy=each.health == "unhealthy") for each in named), *found]

    def publisher(self, published: str, address: str) -> str | None:
        self.happen(self.before["publisher"])
        return None

    def signal(self, name: str, signal: str) -> bool:
        """Send a signal; False if nothing runs there."""
        with_effect = signal in self.heeds or (signal == "SIGKILL" and not self.immortal)
        return self.ask(("signal", signal), name, lambda found: self._end_soon(found, signal, with_effect))

    def unpause(self, name: str) -> None:
        self.ask(("unpause",), name, lambda found: self.put(replace(found, paused=False)))

    def write_stdin(self, name: str, text: str, *, taken_within: float | None = None) -> None:
        self.ask(("write_stdin", text), name, lambda found: self._end_soon(found, "SIGTERM", text == "stop\n"))
        if self.find(name) is None:
            raise EngineError("no such container", status=404)

    def use(self, name: str) -> Use | None:
        self.happen(self.before["use"])
        return self.used

    def start(self, name: str) -> None:
        self.ask(("start",), name, lambda found: self.execute_start(found.id))

    def execute_start(self, name: str) -> None:
        """Execute a start request. It has no effect if the container is gone or runs."""
        found = self.find(name)
        if found is None or found.live:
            return
        started_at = self._moment(next(self.count))
        health = None if found.health is None else "starting"
        self.put(replace(found, live=self.crash is None, started_at=started_at, exit_code=self.crash, health=health))

    def end(self, name: str, code: int = 0) -> None:
        found = self.find(name)
        if found is not None and found.live:
            self.put(replace(found, live=False, paused=False, exit_code=code, finished_at=self._moment()))

    def _moment(self, nanoseconds: int = 0) -> str:
        moment = self.clock.now()
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}{nanoseconds:03d}Z"

    def change(self, name: str, **fields: Any) -> Snapshot:
        found = self.find(name)
        assert found is not None
        return self.put(replace(found, **fields))

    def begin(self, call: str) -> None:
        self.witness(call)
        self.happen(self.before[call])

    def ask(self, call: tuple[str, ...], name: str, effect: Callable[[Snapshot], object]) -> bool:
        """Execute a call on a container. False if the container is gone or does not run."""
        self.begin(call[0])
        self.calls.append(call)
        found = self.find(name)
        there = found is not None and (found.live or call[0] in ("start", "rename"))
        if found is not None and there:
            effect(found)
        self.happen(self.after[call[0]])
        return there

    def _end_soon(self, found: Snapshot, signal: str, with_effect: bool) -> None:
        if not with_effect:
            return
        if signal == "SIGKILL" or self.stop_seconds == 0:
            self.end(found.id, 137 if signal == "SIGKILL" else 0)
        else:
            self.clock.after(self.stop_seconds, lambda: self._end_run(found))

    def _end_run(self, run: Snapshot) -> None:
        found = self.find(run.id)
        if found is not None and found.run == run.run:
            self.end(run.id)

    def put(self, snapshot: Snapshot) -> Snapshot:
        self.containers[snapshot.id] = snapshot
        return snapshot

    @staticmethod
    def happen(happenings: list[Callable[[], object]]) -> None:
        if happenings:
            happenings.pop(0)()


def _raiser(error: Exception) -> Callable[[], object]:
    def happen() -> None:
        raise error

    return happen
