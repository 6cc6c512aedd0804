# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The skeleton of the programs for units: options, exit code, lock of the only instance, notifications to the service manager, output."""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TextIO

from ._core import hold_own_core, import_whole
from ._power.actions.node.node import Node, build_sources
from ._power.definitions.settings import Settings
from ._power.host.own_files import open_locked, open_or_make
from ._power.host.supervisor_record import SupervisorRecord, read_record, write_record
from ._power.host.system_log import announce_line
from ._power.model.cancellation import Deadline
from ._power.model.clock import SYSTEM_CLOCK, timestamp
from ._power.model.errors import LockUnavailable, PowerError, internal_error
from ._power.model.option import Option
from ._power.model.request import WaitFor
from ._power.model.schema import one_line
from ._power.options import MAX_PARALLEL, STAGGER
from ._power.sources.sources import Sources

_DEFAULT_STAGGER_SECONDS = 1
_LIFE_SECONDS = 5.0
#: The longest life of sources: actions within a second share one list of the Panel.
_SOURCES_SECONDS = 1.0
_PRINTING = threading.Lock()
#: In characters, more than any sentence of ours has.
_LONGEST_LINE = 8192


def service_options(program: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of a program, with the common option."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--config", metavar="FILE", help="the node's settings; /etc/fleet-power/config.yml")
    return parser


def start_options(program: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of a program that starts many servers."""
    parser = service_options(program, description)
    parser.add_argument(
        "--stagger",
        metavar="S",
        type=whole_number(STAGGER),
        default=_DEFAULT_STAGGER_SECONDS,
        help="seconds between the beginnings of two servers; %(default)s",
    )
    parser.add_argument(
        "--max-parallel",
        metavar="N",
        type=whole_number(MAX_PARALLEL),
        default=MAX_PARALLEL.default,
        help="servers at a time; 0, eight, or as many as there are processors",
    )
    waits = (WaitFor.CONTAINER.value, WaitFor.RUNNING.value)
    parser.add_argument("--wait-for", choices=waits, default=WaitFor.CONTAINER.value, help="when a server counts as up; %(default)s")
    return parser


def whole_number(option: Option) -> Callable[[str], int]:
    """Return a reader of whole numbers within the bounds of an option, for a parser."""

    def read(text: str) -> int:
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
        if not option.holds(value):
            limit = "of 0 or more" if option.most is None else option.limit
            raise argparse.ArgumentTypeError(f"expected a whole number {limit}")
        return value

    return read


def run_program(work: Callable[[], int | None]) -> int:
    """Do the work of a program; return its exit code, 0 for None. After an error it is 1, and one line on standard error says why."""
    hold_own_core()
    import_whole()
    try:
        return work() or 0
    except PowerError as error:
        print_line(str(error), sys.stderr)
    except Exception as error:
        print_line(internal_error(error), sys.stderr)
    return 1


class OwnLock:
    """The held lock of a program that runs once on a node. Not safe between threads."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._record: SupervisorRecord | None = None

    def record(self, paused: str = "") -> bool:
        """Record in the lock file that this process runs, and the cause of a pause. Returns True if the cause is new."""
        if self._record is None:
            self._record = SupervisorRecord.of_this_process(timestamp(SYSTEM_CLOCK.now()), paused)
        elif paused == self._record.paused:
            return False
        self._record = replace(self._record, paused=paused)
        # The record overwrites the old one, so it needs no more room on the disk.
        with contextlib.suppress(OSError):
            write_record(self._descriptor, self._record)
        return True


@contextlib.contextmanager
def own_lock(settings: Settings, name: str, what: str, hint: str) -> Iterator[OwnLock]:
    """Hold the lock file ``name`` in the lock directory; the lock ends with this process. Raises `LockUnavailable`: Cannot ``what``, the
    holder, and ``hint``; also if the state disk is read-only."""
    path = os.path.join(settings.lock_directory, name)
    with contextlib.suppress(OSError):
        # The mounts of a unit stay read-only, if they are so at its start. The next try of systemd finds a mended disk.
        if os.statvfs(settings.state_directory).f_flag & os.ST_RDONLY:
            raise LockUnavailable(f"Cannot {what}: the disk of {settings.state_directory} is read-only; see system.state_directory")
    # The lock of an earlier version is in the state directory.
    holder, descriptor = _holder(settings.state_directory, name), None
    try:
        if not holder:
            descriptor = open_locked(path, lambda: open_or_make(path, os.O_RDWR, settings.group))
    except OSError as error:
        raise LockUnavailable(f"Cannot {what}: {path} cannot be locked: {error.strerror}; see system.lock_directory") from error
    if descriptor is None:
        holder = holder or _holder(settings.lock_directory, name) or "another process"
        raise LockUnavailable(f"Cannot {what}: {holder} already does so{hint}")
    try:
        yield OwnLock(descriptor)
    finally:
        os.close(descriptor)


def _holder(directory: str, name: str) -> str:
    with contextlib.suppress(OSError):
        record = read_record([directory], name)
        if record is not None:
            return f"process {record.pid}, since {record.since},"
    return ""


class FreshNode:
    """A node with sources that are a second old at most, because definitions change while a program runs. Safe between threads."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._guard = threading.Lock()
        self._stale_at = Deadline.after(node.clock, _SOURCES_SECONDS)

    @property
    def settings(self) -> Settings:
        return self._node.settings

    def now(self) -> Node:
        """Return the node for new work."""
        with self._guard:
            if self._stale_at.is_over:
                self._node = replace(self._node, sources=self.fresh_sources())
                self._stale_at = Deadline.after(self._node.clock, _SOURCES_SECONDS)
            return self._node

    def fresh_sources(self) -> Sources:
        """Return new sources without cached answers."""
        node = self._node
        return build_sources(node.settings, node.engine, node.clock)

    def close(self) -> None:
        self._node.journal.close()


class ServiceManager:
    """The service manager that started this process, if one did. Nothing here raises."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        is_ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        text = os.environ.get("WATCHDOG_USEC", "")
        wants_life = is_ours and text.isdigit() and int(text)
        #: Seconds between two calls of `alive`; None without a watchdog for this process.
        self.life_seconds = min(int(text) / 2_000_000, _LIFE_SECONDS) if wants_life else None
        self._alive_at = Deadline(SYSTEM_CLOCK, 0.0)
        self._is_ready = False

    def ready(self) -> None:
        """Report that the program has begun or has reloaded its settings. Only the first call counts."""
        if not self._is_ready:
            self._is_ready = True
            self._tell("READY=1")

    def reloading(self) -> None:
        """Report that the program reloads its settings; `ready` follows."""
        self._is_ready = False
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def alive(self) -> None:
        if self.life_seconds is not None and self._alive_at.is_over:
            self._tell("WATCHDOG=1")
            self._alive_at = Deadline.after(SYSTEM_CLOCK, self.life_seconds)

    def _tell(self, *words: str) -> None:
        if not self._address:
            return
        # An abstract name is written with an at sign.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.settimeout(1.0)
            manager.connect(address)
            manager.sendall("\n".join(words).encode())


def say(line: str, *, warn: bool = True) -> None:
    """Write one line to the system log and to standard output. Raises nothing."""
    announce_line(line, warn=warn)
    print_line(line, sys.stdout)


def print_line(line: str, stream: TextIO) -> None:
    """Write one line, whatever it contains. Raises nothing, even if the stream has no reader."""
    line = one_line(line, _LONGEST_LINE)
    with _PRINTING, contextlib.suppress(OSError, ValueError):
        stream.write(line.encode(stream.encoding or "utf-8", "replace").decode(stream.encoding or "utf-8") + "\n")
        stream.flush()
