# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands in the containers of a Docker Engine: limited in time and output, one at a time per container, with cleanup.

The engine never kills a command, even after a disconnect. So this module kills its process on this machine. On another machine, the
container gets no further command until it ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from ..host.machine import CONTAINER_ID, boot_seconds, processes, stat_of, text_of
from ..model.cancellation import Deadline, wait_until
from ..model.clock import SYSTEM_CLOCK
from ..model.errors import PowerError
from ..model.records import dataclass, field
from .engine_calls import EngineCalls, tolerating
from .output import Deframer, Output

_LEAST_SECONDS = 0.1
#: The wait for a killed command to disappear. Some engines take 2 s if its child still holds its output.
_END_SECONDS = 3.0
_LOOK_SECONDS = 0.02
#: Processes may start others while they are being killed.
_ROUNDS = 5


@dataclass(frozen=True)
class CommandEnd:
    """How a command ended: its exit code and output. Without an exit code, ``why`` says the reason, as text after its name."""

    exit_code: int | None
    output: bytes = b""
    why: str = ""


@dataclass
class _ExecSlot:
    """The place for one command in a container. ``left`` is the engine's id of a possibly running command, with its start."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0
    left: tuple[str, float] | None = None


class CommandRunner:
    """Runs commands in containers, beside the main process and as the same user."""

    def __init__(self, calls: EngineCalls, *, local: bool) -> None:
        self._calls = calls
        self._local = local
        self._guard = threading.Lock()
        self._slots: dict[str, _ExecSlot] = {}

    def run(self, container: str, words: Sequence[str], *, seconds: float, most_bytes: int) -> CommandEnd:
        """Run a program in a container, by its full id, and return how it ended.

        Limits are ``seconds`` and ``most_bytes``. A local, permitted caller kills an unfinished command; otherwise that container gets no
        further command until it ends. Each container runs one command at a time; others wait.
        """
        deadline = Deadline.after(SYSTEM_CLOCK, seconds)
        with self._slot(container, deadline) as slot:
            if slot is None:
                return CommandEnd(None, why="was not run: another one still runs in its container")
            if not self._is_ended(slot, container):
                return CommandEnd(None, why="was not run: the one before still runs in its container")
            try:
                # A connection of its own: a slow command must not hold a place among the engine's calls.
                with self._calls.asking(f"run a command in container {container}", own_seconds=seconds) as client:
                    return self._run(client, slot, container, words, deadline, most_bytes)
            finally:
                with contextlib.suppress(PowerError):
                    self._is_ended(slot, container)

    @contextlib.contextmanager
    def _slot(self, container: str, deadline: Deadline) -> Iterator[_ExecSlot | None]:
        with self._guard:
            slot = self._slots.setdefault(container, _ExecSlot())
            slot.users += 1
        taken = slot.lock.acquire(timeout=deadline.left)
        try:
            yield slot if taken else None
        finally:
            if taken:
                slot.lock.release()
            with self._guard:
                slot.users -= 1
                if slot.users == 0 and slot.left is None:
                    del self._slots[container]

    def _run(self, client: Any, slot: _ExecSlot, container: str, words: Sequence[str], deadline: Deadline, most_bytes: int) -> CommandEnd:
        client.timeout = max(deadline.left, _LEAST_SECONDS)
        command = str(client.exec_create(container, list(words), stdout=True, stderr=False)["Id"])
        slot.left = command, boot_seconds()
        client.timeout = max(deadline.left, _LEAST_SECONDS)
        output = Output(client.exec_start(command, socket=True))
        try:
            printed = _read(output, deadline, most_bytes)
        finally:
            output.close()
        if isinstance(printed, CommandEnd):
            return printed
        found: dict[str, Any] = {}

        def is_over() -> bool:
            client.timeout = max(deadline.left, _LEAST_SECONDS)
            found.update(client.exec_inspect(command))
            return not found["Running"]

        if not wait_until(is_over, deadline, every=_LOOK_SECONDS) or not isinstance(found["ExitCode"], int):
            return CommandEnd(None, why="has not ended in time")
        slot.left = None
        return CommandEnd(found["ExitCode"], printed)

    def _is_ended(self, slot: _ExecSlot, container: str) -> bool:
        """Kill a leftover command if possible; return False if it still runs."""
        if slot.left is None:
            return True
        command, began = slot.left

        def is_over() -> bool:
            found = client.exec_inspect(command)
            if self._local:
                # Also after its own end: a child may still hold its output.
                end_session(int(found.get("Pid") or 0), container, began)
            return not found["Running"]

        # A 404: the container has stopped since, and its processes with it. A new start keeps its id.
        with tolerating(404), self._calls.asking(f"end a command in container {container}", own_seconds=_END_SECONDS) as client:
            if not wait_until(is_over, Deadline.after(SYSTEM_CLOCK, _END_SECONDS), every=_LOOK_SECONDS):
                return False
        slot.left = None
        return True


def _read(output: Output, deadline: Deadline, most_bytes: int) -> bytes | CommandEnd:
    frames, printed, raw = Deframer(), b"", 0
    while deadline.left > 0:
        chunk = output.read(deadline.left)
        if not chunk:
            if chunk is None:
                break
            if output.is_broken or frames.pending:
                return CommandEnd(None, why="lost the engine's connection before all its output arrived")
            return printed
        printed += frames.feed(chunk)
        raw += len(chunk)
        if raw > most_bytes + 8 * len(printed) or len(printed) > most_bytes:
            return CommandEnd(None, why=f"prints more than {most_bytes} bytes")
    return CommandEnd(None, why="has not ended in time")


def end_session(leader: int, container: str, since: float) -> None:
    """SIGKILL the processes of session ``leader`` in a container that began at ``since`` or later.

    ``container`` is a full id, ``since`` in seconds of the boot clock: older processes are the server's own. The session id is not reused
    while one of its processes lives. A pidfd holds each before the check, so no pid is reused. Processes without permission stay.
    """
    if leader <= 1 or not CONTAINER_ID.fullmatch(container) or not hasattr(os, "pidfd_open"):
        return
    for _round in range(_ROUNDS):
        if sum(_kill(pid, leader, container, since) for pid in processes()) == 0:
            return


def _kill(pid: int, leader: int, container: str, since: float) -> bool:
    if not _is_of(pid, leader, since):
        return False
    try:
        held = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not (container in text_of(f"/proc/{pid}/cgroup") and _is_of(pid, leader, since)):
            return False
        signal.pidfd_send_signal(held, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(held)
    return True


def _is_of(pid: int, leader: int, since: float) -> bool:
    found = stat_of(pid)
    if found is None:
        return False
    has_ended, session, start = found
    return not has_ended and session == leader and start + 1 >= since * os.sysconf("SC_CLK_TCK")
