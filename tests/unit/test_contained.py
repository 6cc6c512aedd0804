# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is ended of a command that hangs in a container: its own processes, and no other's."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine import engine_commands
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_commands import CommandEnd, _read, end_session
from ansible_collections.fleet.power.plugins.module_utils._power.host.liveness import boot_seconds
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import Deadline, wait_until
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SYSTEM_CLOCK
from ansible_collections.fleet.power.tests.unit.fake_engine import FakeClock, FakeOutput

CONTAINER = "c" * 64


class Hanging:
    """A process of a session of its own, with a child that is in it as well."""

    def __init__(self) -> None:
        self.since = boot_seconds()
        self.leader = subprocess.Popen(
            ["sh", "-c", "sleep 1001 & echo $!; wait"], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.leader.stdout is not None
        self.child = int(self.leader.stdout.readline())

    @property
    def lives(self) -> bool:
        """Whether both live; one that only waits for its parent does not."""
        return self.leader.poll() is None and self._child_lives()

    @property
    def is_over(self) -> bool:
        self.leader.wait(20)
        return wait_until(lambda: not self._child_lives(), Deadline.after(SYSTEM_CLOCK, 20.0), every=0.01)

    def _child_lives(self) -> bool:
        try:
            with open(f"/proc/{self.child}/stat", encoding="utf-8") as source:
                return source.read().rpartition(")")[2].split()[0] not in ("Z", "X")
        except (FileNotFoundError, ProcessLookupError):
            return False

    def end(self) -> None:
        engine_commands.end_session(self.leader.pid, CONTAINER, 0.0)
        self.leader.wait(20)
        assert self.leader.stdout is not None
        self.leader.stdout.close()


@pytest.fixture(name="hanging")
def in_a_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    found = Hanging()
    yield found
    monkeypatch.setattr(engine_commands, "_is_in", lambda pid, container: True)
    found.end()


def test_all_of_its_session_is_ended(hanging: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_commands, "_is_in", lambda pid, container: container == CONTAINER)
    end_session(hanging.leader.pid, CONTAINER, hanging.since)
    assert hanging.is_over


@pytest.mark.parametrize(("which", "container"), [("child", CONTAINER), ("leader", "c"), ("leader", ""), ("nobody", CONTAINER)])
def test_a_number_that_began_no_session_and_what_is_no_container_end_nothing(
    hanging: Hanging, monkeypatch: pytest.MonkeyPatch, which: str, container: str
) -> None:
    monkeypatch.setattr(engine_commands, "_is_in", lambda pid, container: True)
    end_session({"child": hanging.child, "leader": hanging.leader.pid, "nobody": 0}[which], container, hanging.since)
    assert hanging.lives


def frame(payload: bytes) -> bytes:
    return b"\1\0\0\0" + len(payload).to_bytes(4, "big") + payload


@pytest.mark.parametrize(
    ("chunks", "read"),
    [
        ((frame(b"3"), b"\1\0\0", b"\0\0\0\0\2/4", b""), b"3/4"),
        ((b"",), b""),
        ((frame(b"3"), None), CommandEnd(None, why="has not ended in time")),
        ((frame(b"x" * 101), b""), CommandEnd(None, why="prints more than 100 bytes")),
        ((b"\1\0\0\0\xff\xff\xff\xff" + b"x" * 5000, b""), CommandEnd(None, why="prints more than 100 bytes")),
        ((frame(b"") * 200, b""), CommandEnd(None, why="prints more than 100 bytes")),
        ((*[frame(b"x")] * 100, b""), b"x" * 100),
    ],
    ids=range(7),
)
def test_what_a_command_prints_is_read_within_bounds(chunks: tuple[bytes | None, ...], read: object) -> None:
    clock = FakeClock()
    assert _read(FakeOutput(clock, *chunks), Deadline.after(clock, 3.0), 100) == read
