# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's answers, its events, and waits for ends that it reports."""

from __future__ import annotations

import json
import math
import os
import queue
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine import docker_engine
from ansible_collections.fleet.power.plugins.module_utils._power.engine.connection import Connection
from ansible_collections.fleet.power.plugins.module_utils._power.engine.docker_engine import DockerEngine, LiveByLabel
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_answers import listed_of, snapshot_of
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_events import DockerEvents, EndEvents
from ansible_collections.fleet.power.plugins.module_utils._power.engine.event_stream import ContainerEvent, container_event
from ansible_collections.fleet.power.plugins.module_utils._power.host import engine_process
from ansible_collections.fleet.power.plugins.module_utils._power.host.engine_process import engine_life, manual_stop_mark
from ansible_collections.fleet.power.plugins.module_utils._power.host.machine import boot_id, start_of
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import no_check
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import engine_time
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import CancelledByKill, EngineError, EngineUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import ListedContainer, Run, Snapshot
from ansible_collections.fleet.power.tests.unit.fake_node import FakeNode
from ansible_collections.fleet.power.tests.unit.thread_support import block_until
from hypothesis import given
from hypothesis import strategies as st

UUID = "11111111-2222-3333-4444-555555555555"
OURS = {"fleet.power.server": UUID, "fleet.power.spec": "x"}
WINGS = {"Service": "Pterodactyl"}


@pytest.mark.parametrize(
    "name, labels, state, found",
    [
        (UUID, OURS, "running", ListedContainer(UUID, "i", live=True)),
        (UUID, OURS, "exited", ListedContainer(UUID, "i", live=False)),
        (f"{UUID}-next", OURS, "created", ListedContainer(UUID, "i", live=False, waiting=True)),
        (f"{UUID}-kept", OURS, "exited", None),
        ("renamed", OURS, "running", "asked"),
        ("renamed", WINGS, "running", None),
    ],
)
def test_a_listed_container_is_assigned_to_its_server(name: str, labels: Any, state: str, found: Any) -> None:
    row = {"Id": "i", "Names": [f"/{name}"], "Labels": labels, "State": state}
    asked: list[object] = []

    def renamed(row: object) -> str:
        asked.append(row)
        return UUID

    expected = ListedContainer(UUID, "i", live=True) if found == "asked" else found
    assert listed_of(row, renamed) == expected
    assert asked == ([row] if found == "asked" else [])


@pytest.mark.parametrize(
    "status, unhealthy",
    [
        ("Up 2 hours (unhealthy)", True),
        ("Up 2 hours (healthy)", False),
        ("Up 2 hours (Paused)", False),
        ("Up 2 hours", False),
        (None, False),
    ],
)
def test_the_list_of_containers_shows_unhealthy_servers(status: str | None, unhealthy: bool) -> None:
    row = {"Id": "i", "Names": [f"/{UUID}"], "Labels": OURS, "State": "running", "Status": status}
    assert listed_of(row, lambda _row: None) == ListedContainer(UUID, "i", live=True, unhealthy=unhealthy)


@pytest.mark.parametrize(
    "check, seconds",
    [
        ({"Interval": 5 * 10**9, "Timeout": 2 * 10**9}, 7.0),
        ({"Interval": 5 * 10**9}, 35.0),
        ({"Interval": 0, "Timeout": 0}, 60.0),
        (None, 60.0),
    ],
    ids=str,
)
def test_a_health_check_lasts_for_its_interval_and_its_timeout(check: dict[str, int] | None, seconds: float) -> None:
    found = inspected(Running=True, Health={"Status": "unhealthy"})
    found["Config"]["Healthcheck"] = check
    assert (snapshot_of(found).health, snapshot_of(found).health_seconds) == ("unhealthy", seconds)


def inspected(bindings: Any = None, published: Any = None, **state: object) -> dict[str, Any]:
    """Return an inspect answer of the engine: ``bindings`` are asked for, ``published`` is what it did."""
    usual = {"Running": False, "Paused": False, "Restarting": False, "ExitCode": 0, "OOMKilled": False, "StartedAt": "", "FinishedAt": ""}
    found = {"Id": "i", "Name": "/n", "State": {**usual, **state}, "Config": {}, "HostConfig": {"PortBindings": bindings}}
    return {**found, "NetworkSettings": {"Ports": published}}


def binding(address: str, port: str) -> dict[str, str]:
    return {"HostIp": address, "HostPort": port}


@pytest.mark.parametrize(
    ("bindings", "published", "addresses", "held"),
    [
        (None, None, {}, set()),
        ({"1/tcp": None, "2/tcp": [], "3/tcp": [binding("", "")]}, None, {"1/tcp": (), "2/tcp": (), "3/tcp": ()}, set()),
        (
            {"1/udp": [binding("", "7"), binding("::", "8")]},
            {"1/udp": [binding("0.0.0.0", "7"), binding("::", "8")]},
            {"1/udp": (("0.0.0.0", 7), ("::", 8))},
            {"7/udp", "8/udp"},
        ),
        # `docker run --publish 8090:80`, `--publish 80`, and `--publish-all`, where the engine chooses.
        ({"80/tcp": [binding("127.0.0.1", "8090")]}, None, {"80/tcp": (("127.0.0.1", 8090),)}, {"8090/tcp"}),
        ({"80/tcp": [binding("", "")]}, {"80/tcp": [binding("0.0.0.0", "32768")]}, {"80/tcp": (("0.0.0.0", 32768),)}, {"32768/tcp"}),
        ({}, {"80/tcp": [binding("::", "32769")], "81/tcp": None}, {"80/tcp": (("::", 32769),), "81/tcp": ()}, {"32769/tcp"}),
    ],
)
@pytest.mark.parametrize("live", [True, False])
def test_a_snapshot_has_the_ports_of_the_machine_that_a_live_container_holds(
    bindings: Any, published: Any, addresses: Any, held: set[str], live: bool
) -> None:
    found = snapshot_of(inspected(Running=live, bindings=bindings, published=published))
    assert (found.addresses, found.machine_ports) == ((addresses, held) if live else ({}, set()))


@pytest.mark.parametrize(
    ("state", "killed"),
    [
        ({"ExitCode": 137, "OOMKilled": True}, True),
        ({"ExitCode": 137}, False),
        # A child has ended, now or in an earlier run.
        ({"ExitCode": 1, "OOMKilled": True}, False),
        ({"Running": True, "OOMKilled": True}, False),
    ],
)
def test_only_an_end_by_sigkill_can_be_for_lack_of_memory(state: dict[str, Any], killed: bool) -> None:
    assert snapshot_of(inspected(**state)).oom_killed is killed


ID = "a" * 64
AT = 1_795_787_441_406_151_512


def raw_event(action: str = "die", **attributes: object) -> dict[str, Any]:
    actor = {"ID": ID, "Attributes": {"image": "game", "name": UUID, **attributes}}
    return {"status": action, "id": ID, "Type": "container", "Action": action, "Actor": actor, "time": AT // 10**9, "timeNano": AT}


def test_the_signal_and_the_exit_code_of_an_event_are_numbers() -> None:
    assert container_event(raw_event("kill", signal="15")) == ContainerEvent(AT, "kill", ID, UUID, signal=15)
    assert container_event(raw_event("die", exitCode="137")) == ContainerEvent(AT, "die", ID, UUID, exit_code=137)
    assert container_event(raw_event("start")) == ContainerEvent(AT, "start", ID, UUID)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["ID", "Attributes", "signal", "name"]) | st.text(), inner),
    max_leaves=10,
)


@given(JSON, st.dictionaries(st.sampled_from(["Type", "Action", "Actor", "id", "time", "timeNano"]), JSON))
def test_any_event_is_parsed_without_an_error(anything: object, changes: dict[str, Any]) -> None:
    for event in (container_event(anything), container_event({**raw_event(), **changes})):
        assert event is None or json.dumps(event.container)


BEFORE, ENDED, FIRST, STARTED, LATER = (f"2026-01-31T12:00:0{second}Z" for second in ("1.9", "2.1", "4.1", "4.105", "5"))


def stamp_of(line: bytes) -> float:
    stamp = engine_time(line.split()[0].decode())
    assert stamp is not None
    return stamp.timestamp()


LOG = f"{BEFORE} of the run before\n{FIRST} ready\n{LATER} more\n".encode()


class Client:
    def __init__(self, **state: Any) -> None:
        self.asked_since = 0
        self._state = state

    def inspect_container(self, _name: str) -> dict[str, Any]:
        return {"State": self._state}

    def logs(self, _name: str, *, since: int, until: float = math.inf, **_options: Any) -> bytes:
        self.asked_since = since
        # The engine selects by whole seconds.
        return b"".join(line for line in LOG.splitlines(keepends=True) if since <= stamp_of(line) <= until)

    def _url(self, path: str, *_names: str) -> str:
        return path

    def _get(self, _url: str, *, params: dict[str, int], stream: bool) -> SimpleNamespace:
        found = self.logs("c1", since=0, until=params["until"])
        return SimpleNamespace(close=lambda: None, iter_content=lambda size: (found[at : at + size] for at in range(0, len(found), size)))

    def _raise_for_status(self, _answer: object) -> None:
        pass


def log_of_run(client: Client) -> bytes:
    engine = DockerEngine(Connection(api_version="1.45"))
    engine._calls._idle.append(client)
    return engine.logs.of_run(Run("c1", STARTED))


def test_a_line_stamped_between_the_last_end_and_the_start_belongs_to_the_run() -> None:
    assert log_of_run(Client(Running=True, StartedAt=STARTED, FinishedAt=ENDED)) == b"ready\nmore\n"


def test_the_first_run_has_the_whole_log_of_its_container() -> None:
    client = Client(Running=True, StartedAt=STARTED, FinishedAt="0001-01-01T00:00:00Z")
    assert (log_of_run(client), client.asked_since > 0) == (b"of the run before\nready\nmore\n", True)


@pytest.mark.parametrize("running, started", [(False, STARTED), (True, LATER)])
def test_an_ended_run_gets_no_line_of_another_run(running: bool, started: str) -> None:
    assert log_of_run(Client(Running=running, StartedAt=started, FinishedAt=LATER)) == b"more\n"


@pytest.mark.parametrize(
    "started, has_beginning",
    [(STARTED, True), ("2026-01-31T12:00:00.9Z", True), ("2026-01-31T11:59:58Z", False), ("2026-01-31T13:00:00Z", True), ("", False)],
)
def test_a_log_is_whole_if_it_has_a_line_from_before_the_run_or_from_its_first_second(started: str, has_beginning: bool) -> None:
    engine = DockerEngine(Connection(api_version="1.45"))
    engine._calls._idle.append(Client())
    assert engine.logs.has_beginning_of(Run("c1", started)) is has_beginning


OWN_COMMAND = Path("/proc/self/comm").read_text().rstrip("\n")


def own_life() -> str:
    return f"{boot_id()}/{os.getpid()}/{start_of(os.getpid())}"


@pytest.fixture(name="host")
def listen(tmp_path: Path) -> str:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    listener.detach()
    return f"unix://{tmp_path}/s"


def test_the_listening_process_is_the_engine_if_its_command_matches(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_process, "_COMMAND", OWN_COMMAND)
    assert engine_life(host) == own_life()


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:2375", "ssh://somewhere", "", "unix:///nowhere/docker.sock", "unix://", "unix://a\0b"])
def test_a_remote_or_stopped_engine_has_no_known_process(host: str) -> None:
    assert engine_life(host) == ""


def test_the_pid_file_names_the_engine_if_another_process_holds_the_socket(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = os.getpid()
    commands = {listener: "systemd", os.getppid(): "dockerd"}
    monkeypatch.setattr(engine_process, "_command_of", lambda pid: commands.get(pid, ""))
    monkeypatch.setattr(engine_process, "_PID_FILES", (str(tmp_path / "none"), str(tmp_path / "pid")))
    parent = f"{boot_id()}/{os.getppid()}/{start_of(os.getppid())}"
    (tmp_path / "pid").write_text(f"{os.getppid()}\n")
    monkeypatch.setattr(engine_process, "processes", lambda: iter(()))
    assert engine_life(host) == parent
    for text in (str(listener), "999999999999999999999999999", "-1", "", "x" * 100, "\u0665"):
        (tmp_path / "pid").write_text(text)
        assert engine_life(host) == "", text


STOP_ID = "ab" * 32


def note(root: Path, text: str | bytes, container: str = STOP_ID) -> Path:
    path = root / "containers" / container / "config.v2.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def noted(mark: object, **others: object) -> str:
    return json.dumps({"ID": STOP_ID, "State": {}, "HasBeenManuallyStopped": mark, **others})


@pytest.mark.parametrize("mark", [True, False])
def test_the_manual_stop_mark_is_read_from_the_engines_file(tmp_path: Path, mark: bool) -> None:
    note(tmp_path, noted(mark))
    assert manual_stop_mark(str(tmp_path), STOP_ID) is mark


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        b"\xff\xfe",
        "[" * 100_000,
        noted(1),
        noted(None),
        noted(True, ID="cd" * 32),
        noted(True, Config="x" * (8 * 1024 * 1024)),
    ],
    ids=range(8),
)
def test_a_damaged_or_foreign_file_has_no_mark(tmp_path: Path, text: str | bytes) -> None:
    note(tmp_path, text)
    assert manual_stop_mark(str(tmp_path), STOP_ID) is None


@pytest.mark.parametrize("container", ["", "ab", "../" + STOP_ID, STOP_ID.upper(), STOP_ID + "\n"])
def test_an_incomplete_container_id_has_no_mark(tmp_path: Path, container: str) -> None:
    note(tmp_path, noted(True))
    assert manual_stop_mark(str(tmp_path), container) is None


def test_a_link_or_a_pipe_has_no_mark(tmp_path: Path) -> None:
    path = note(tmp_path, noted(True))
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert manual_stop_mark(str(tmp_path), STOP_ID) is None
    path.unlink()
    os.mkfifo(path)
    assert manual_stop_mark(str(tmp_path), STOP_ID) is None


@pytest.mark.parametrize("root", ["", "containers", "/nowhere", "/\0"])
def test_a_wrong_root_directory_has_no_marks(root: str) -> None:
    assert manual_stop_mark(root, STOP_ID) is None


LONG = 20.0


class Engine:
    """An engine whose stream yields what the test says. Each request lasts until its end time."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, float]] = []
        self.opened = threading.Event()
        self._said: queue.Queue[str | Exception | None] = queue.Queue()

    def say(self, said: str | Exception | None) -> None:
        """Takes the id of an ended container, a fault, or None for the end of the stream."""
        self._said.put(said)

    def listen(self, since: float, until: float) -> Iterator[str]:
        self.asked.append((since, until))
        self.opened.set()
        while (left := until - time.time()) > 0:
            try:
                said = self._said.get(timeout=left)
            except queue.Empty:
                return
            if said is None:
                return
            if isinstance(said, Exception):
                raise said
            yield said


@pytest.fixture(name="engine")
def make_engine() -> Engine:
    return Engine()


@pytest.fixture(name="events")
def make_events(engine: Engine) -> Iterator[EndEvents]:
    before = threading.active_count()
    yield EndEvents(engine.listen)
    deadline = time.monotonic() + 20
    while threading.active_count() > before:
        assert time.monotonic() < deadline, "a thread has not ended"
        time.sleep(0.02)


def test_the_end_of_a_container_wakes_only_its_own_waits(engine: Engine, events: EndEvents) -> None:
    with ThreadPoolExecutor(3) as pool:
        first, second = (pool.submit(events.wait, "a", LONG, begin=True) for _unused in range(2))
        other = pool.submit(events.wait, "b", 0.5, begin=True)
        assert engine.opened.wait(20)
        block_until(lambda: len(events._waiting.get("a", ())) == 2)
        engine.say("a")
        assert (first.result(20), second.result(20), other.result(20)) == (True, True, False)
    assert len(engine.asked) == 1


@pytest.mark.parametrize("event", [{"id": ID, "Actor": {"ID": ID}}, {"id": ID}, {"Actor": {"ID": ID}}], ids=["1.51", "old", "1.52"])
def test_an_end_is_read_from_the_events_of_each_version(event: dict[str, Any]) -> None:
    """API version 1.52 drops `id` from events."""
    client = mock.Mock()
    client.events.return_value = [event]
    calls = mock.MagicMock()
    calls.asking.return_value.__enter__.return_value = client
    assert DockerEvents(calls, local=True).await_end_hint(ID, LONG, begin=True) is True


def test_an_end_between_the_check_and_the_wait_counts_once(engine: Engine, events: EndEvents) -> None:
    assert events.wait("other", 0.01, begin=True) is False
    engine.say("a")
    time.sleep(0.1)
    assert events.wait("a", LONG, begin=False) is True
    assert events.wait("a", 0.01, begin=False) is False


def test_requests_of_the_stream_leave_no_gap_and_the_first_reaches_back(engine: Engine, events: EndEvents) -> None:
    began = time.time()
    assert events.wait("a", 1.3, begin=True) is False
    (first, until), (then, _later) = engine.asked[:2]
    assert first < began - 0.5
    assert then == until


@pytest.mark.parametrize("fault", [EngineError("no such call", status=404), KeyError("id"), ValueError("no JSON"), None])
def test_a_failed_stream_ends_each_wait_without_an_answer(engine: Engine, events: EndEvents, fault: Exception | None) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(events.wait, "a", LONG, begin=True)
        assert engine.opened.wait(20)
        engine.say(fault)
        assert waiting.result(20) is None
    assert events.wait("a", LONG, begin=True) is None
    assert len(engine.asked) == 1


class Hints:
    """Replaces the engine's hints. They start at the first wait with ``begin``, and report ends only with ``tells``."""

    def __init__(self, fake: FakeNode, *, tells: bool = True) -> None:
        self.fake, self.tells = fake, tells
        self.listening = False
        self.inspects = 0
        fake.engine.hints = self.wait
        inspect = fake.engine.inspect

        def counted(name: str) -> Snapshot | None:
            self.inspects += 1
            return inspect(name)

        fake.engine.inspect = counted  # type: ignore[method-assign]

    def wait(self, container: str, seconds: float, begin: bool) -> bool | None:
        self.listening = self.listening or begin
        if not self.listening:
            return None
        until = self.fake.clock.monotonic() + seconds
        while self.fake.clock.monotonic() < until:
            self.fake.clock.sleep(0.01)
            found = self.fake.engine.find(container)
            if self.tells and (found is None or not found.live):
                return True
        return False


def ending_after(fake: FakeNode, seconds: float) -> Snapshot:
    """A running server whose process ends after so many seconds."""
    snapshot = fake.up()
    fake.clock.after(seconds, lambda: fake.engine.end(snapshot.id))
    return snapshot


def test_a_hint_ends_a_wait_at_once_and_inspections_come_every_two_seconds(fake: FakeNode) -> None:
    snapshot = ending_after(fake, 10.6)
    hints = Hints(fake)
    began = fake.clock.monotonic()
    assert fake.node.await_end(snapshot.run, 60, no_check)
    assert fake.clock.monotonic() - began == pytest.approx(10.6, abs=0.1)
    assert hints.inspects <= 6 + 10.6 / 2 + 2


def test_a_false_hint_does_not_end_a_wait(fake: FakeNode) -> None:
    snapshot = ending_after(fake, 5)
    answers = iter([True, True, None])
    fake.engine.hints = lambda container, seconds, begin: next(answers, None)
    assert fake.node.await_end(snapshot.run, 60, no_check)
    assert fake.clock.monotonic() >= 5


def test_a_wait_keeps_its_timeout_and_checks_for_a_kill_every_half_second(fake: FakeNode) -> None:
    Hints(fake)
    snapshot, looks = fake.up(), [fake.clock.monotonic()]
    began = fake.clock.monotonic()
    assert not fake.node.await_end(snapshot.run, 7.3, lambda: looks.append(fake.clock.monotonic()))
    assert fake.clock.monotonic() - began == pytest.approx(7.3, abs=0.05)
    assert max(later - earlier for earlier, later in zip(looks, looks[1:])) <= 0.55


def test_a_kill_ends_the_wait(fake: FakeNode) -> None:
    hints, snapshot = Hints(fake), fake.up()

    def look() -> None:
        if fake.clock.monotonic() > 3:
            raise CancelledByKill("Cannot go on")

    with pytest.raises(CancelledByKill):
        fake.node.await_end(snapshot.run, 60, look)
    assert hints.listening
    assert fake.clock.monotonic() < 4


class Lists:
    """Lists that end when a test says so. Each list differs."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = threading.Semaphore(0)
        self.has_begun = threading.Semaphore(0)
        self.fault: Exception | None = None

    def read(self) -> dict[str, list[str]]:
        self.begun += 1
        number = self.begun
        self.has_begun.release()
        assert self.may_end.acquire(timeout=10)
        if self.fault is not None:
            raise self.fault
        return {"u": [f"container of list {number}"]}


@pytest.mark.parametrize("fault", [None, EngineUnreachable("Cannot list the containers: silent")], ids=["", "failure"])
def test_requests_during_a_list_share_the_next_list_and_its_failure(fault: Exception | None, monkeypatch: pytest.MonkeyPatch) -> None:
    lists, moments = Lists(), list[float]()
    lists.fault = fault

    def monotonic() -> float:
        moments.append(time.monotonic())
        return moments[-1]

    monkeypatch.setattr(docker_engine, "time", SimpleNamespace(monotonic=monotonic))
    live = LiveByLabel(lists.read)
    with ThreadPoolExecutor(41) as pool:
        first = pool.submit(live.of, "u")
        assert lists.has_begun.acquire(timeout=10)
        others = [pool.submit(live.of, "u") for _number in range(40)]
        # All have asked, and the first list has begun.
        block_until(lambda: len(moments) == 42)
        lists.may_end.release(2)
        if fault is None:
            assert first.result(10) == ["container of list 1"]
            assert [other.result(10) for other in others] == [["container of list 2"]] * 40
        else:
            assert {str(asked.exception(10)) for asked in (first, *others)} == {str(fault)}
    assert lists.begun == 2
