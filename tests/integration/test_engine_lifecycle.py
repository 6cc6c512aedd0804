# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor relies on these facts about an engine: events of ends, marks of manual stops, and its shutdown."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine.event_stream import ContainerEvent, DockerEventStream
from ansible_collections.fleet.power.plugins.module_utils._power.host import engine_process
from ansible_collections.fleet.power.plugins.module_utils._power.host.engine_process import engine_life, manual_stop_mark
from ansible_collections.fleet.power.plugins.module_utils._power.host.machine import boot_id, start_of
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineUnreachable

from .engine_proxy import EngineProxy
from .lab import wait_until
from .own_engine import OwnEngine, own_engine

#: The longest shutdown: the engine's default timeout for containers, and time for its clients.
_SHUTDOWN_SECONDS = 25.0
#: An event: action, and the signal or the exit code.
Seen = tuple[str, "int | None"]


class Follower:
    """A thread that follows an engine; it keeps the events and the end of the stream."""

    def __init__(self, stream: DockerEventStream) -> None:
        self.stream = stream
        self.events: list[ContainerEvent] = []
        self.end = ""
        self.ended_at = 0.0
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def of(self, container: str) -> list[Seen]:
        return [_seen(event) for event in self.events if event.container == container]

    def await_events(self, container: str, *expected: Seen) -> None:
        wait_until(lambda: len(self.of(container)) >= len(expected), f"{expected} of {container}")
        assert self.of(container) == list(expected)

    def await_end(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()

    def close(self) -> None:
        self.stream.close()
        self.await_end()

    def _read(self) -> None:
        try:
            for event in self.stream:
                self.events.append(event)
            self.end = "ended"
        except EngineUnreachable as error:
            self.end = str(error)
        self.ended_at = time.monotonic()


def _seen(event: ContainerEvent) -> Seen:
    return event.action, event.exit_code if event.action == "die" else event.signal


@pytest.fixture(name="own", scope="module")
def start_engine(docker_host: str) -> Iterator[OwnEngine]:
    yield from own_engine(docker_host)


@pytest.fixture(name="mortal")
def start_mortal_engine(docker_host: str) -> Iterator[OwnEngine]:
    yield from own_engine(docker_host)


@pytest.fixture(name="follower")
def follow(own: OwnEngine) -> Iterator[Follower]:
    follower = Follower(own.engine().events.follow(time.time_ns()))
    yield follower
    follower.close()


def root_of(own: OwnEngine) -> str:
    return str(own.engine().facts()["DockerRootDir"])


def kill_from_the_host(own: OwnEngine, container: str) -> None:
    found = own.engine().inspect(container)
    assert found is not None
    os.kill(found.pid, signal.SIGKILL)


#: Ends of a container that ignores SIGHUP: the act, its events, and the mark of a manual stop.
ENDS: dict[str, tuple[Callable[[OwnEngine, str], object], list[Seen], bool]] = {
    "docker stop": (lambda own, name: own.client.stop(name), [("kill", 15), ("die", 0)], True),
    "docker kill": (lambda own, name: own.client.kill(name), [("kill", 9), ("die", 137)], True),
    "docker kill -s HUP": (lambda own, name: own.client.kill(name, "HUP"), [("kill", 1)], True),
    "kill -9 from the host": (kill_from_the_host, [("die", 137)], False),
    "a crash": (lambda _own, _name: None, [("die", 3)], False),
}


@pytest.mark.parametrize("what", ENDS)
def test_the_engine_reports_each_end_and_marks_manual_stops(own: OwnEngine, follower: Follower, what: str) -> None:
    act, expected, mark = ENDS[what]
    container = own.up(IGNORE_SIGNALS="HUP", **({"CRASH_AFTER": 1, "EXIT_CODE": 3} if what == "a crash" else {}))
    assert manual_stop_mark(root_of(own), container) is False
    act(own, container)
    follower.await_events(container, ("start", None), *expected)
    assert manual_stop_mark(root_of(own), container) is mark


def test_the_engine_reports_a_removal(own: OwnEngine, follower: Follower) -> None:
    container = own.up(IGNORE_SIGNALS="all")
    own.client.remove_container(container, force=True)
    follower.await_events(container, ("start", None), ("kill", 9), ("die", 137), ("destroy", None))


def test_another_thread_closes_a_silent_stream_within_a_second(own: OwnEngine) -> None:
    follower = Follower(own.engine().events.follow(None))
    time.sleep(0.3)
    began = time.monotonic()
    follower.stream.close()
    follower.await_end()
    assert time.monotonic() - began < 1
    assert (follower.end, follower.events) == ("ended", [])
    follower.stream.close()
    assert list(follower.stream) == []


def test_a_new_stream_repeats_events_from_a_given_moment_on(own: OwnEngine, follower: Follower) -> None:
    container = own.up()
    own.client.kill(container)
    follower.await_events(container, ("start", None), ("kill", 9), ("die", 137))
    killed = next(event for event in follower.events if event.container == container and event.action == "kill")
    again = Follower(own.engine().events.follow(killed.at))
    again.await_events(container, ("kill", 9), ("die", 137))
    later = Follower(own.engine().events.follow(killed.at + 1))
    later.await_events(container, ("die", 137))
    again.close()
    later.close()


def test_a_life_names_the_boot_the_engines_process_and_its_beginning(own: OwnEngine) -> None:
    assert engine_life(own.host) == f"{boot_id()}/{own.pid}/{start_of(own.pid)}"
    assert own.engine().events.is_serving(5)


@pytest.mark.long
def test_a_socket_activated_engine_serves_no_client_during_its_shutdown(docker_host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd keeps new connections for the next engine."""
    for mortal in own_engine(docker_host, activated=True):
        monkeypatch.setattr(engine_process, "_PID_FILES", (mortal.pid_file,))
        container, life = mortal.up(), engine_life(mortal.host)
        assert life.split("/")[1] == str(mortal.pid)
        assert mortal.engine().events.is_serving(5)
        follower = Follower(mortal.engine().events.follow(time.time_ns()))
        mortal.begin_shutdown()
        follower.await_events(container, ("kill", 15), ("die", 0))
        began = time.monotonic()
        assert not mortal.engine().events.is_serving(1)
        assert time.monotonic() - began < 2
        follower.close()
        mortal.await_end()
        mortal.start()
        assert engine_life(mortal.host) not in ("", life)


def test_a_pid_file_finds_an_engine_behind_the_socket_of_another_process(
    own: OwnEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = EngineProxy(own.host, tmp_path / "proxy.sock")
    try:
        monkeypatch.setattr(engine_process, "_PID_FILES", (str(tmp_path / "none"), own.pid_file))
        assert engine_life(proxy.host) == engine_life(own.host) != ""
        (tmp_path / "pid").write_text(str(os.getpid()))
        monkeypatch.setattr(engine_process, "_PID_FILES", (str(tmp_path / "pid"),))
        assert engine_life(proxy.host) in ("", engine_life(own.host)), "the only engine on a machine without another"
    finally:
        proxy.close()


@pytest.mark.long
def test_a_shutdown_reports_each_end_breaks_the_stream_and_marks_no_container(mortal: OwnEngine) -> None:
    engine, life, root = mortal.engine(), engine_life(mortal.host), root_of(mortal)
    quick, deaf = mortal.up(), mortal.up(IGNORE_SIGNALS="all", config={"StopTimeout": 1})
    found = engine.inspect(deaf)
    assert found is not None and found.stop_timeout == 1
    since = time.time_ns()
    follower = Follower(engine.events.follow(since))
    began = time.monotonic()
    mortal.begin_shutdown()
    follower.await_events(quick, ("kill", 15), ("die", 0))
    assert not mortal.engine().events.is_serving(2), "it serves no client, and has not ended yet"
    assert follower.end == ""
    follower.await_end()
    assert follower.end.startswith("Cannot follow the engine's events: the engine at unix:")
    assert follower.ended_at - began < _SHUTDOWN_SECONDS
    assert follower.of(deaf) == [("kill", 15), ("kill", 9), ("die", 137)]
    mortal.await_end()
    assert [manual_stop_mark(root, each) for each in (quick, deaf)] == [False, False]
    assert engine_life(mortal.host) == ""
    mortal.start()
    assert engine_life(mortal.host) not in ("", life)
    again = Follower(mortal.engine().events.follow(since))
    probe = mortal.up()
    again.await_events(probe, ("start", None))
    assert again.of(quick) == again.of(deaf) == [], "a new engine does not repeat events of the old one"
    again.close()


@pytest.mark.long
def test_a_killed_engine_breaks_the_stream_and_the_next_engine_stops_its_containers(mortal: OwnEngine) -> None:
    container, life, root = mortal.up(), engine_life(mortal.host), root_of(mortal)
    follower = Follower(mortal.engine().events.follow(time.time_ns()))
    mortal.kill()
    follower.await_end()
    assert (follower.events, follower.end != "ended") == ([], True)
    assert manual_stop_mark(root, container) is False
    mortal.start()
    assert engine_life(mortal.host) not in ("", life)
    # It has the events of its own life only.
    again = Follower(mortal.engine().events.follow(0))
    again.await_events(container, ("kill", 15), ("die", 0))
    again.close()
    # Only the new engine process distinguishes this stop from a manual one.
    assert manual_stop_mark(root, container) is True
