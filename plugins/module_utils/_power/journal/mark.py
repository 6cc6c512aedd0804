# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mark of a process: a file that it locks while it lives, so that others notice its death."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress

from ..host.library_faults import reason_of
from ..host.own_files import open_or_make, open_own
from ..model.errors import PowerError

_NAME = re.compile(r"process-[0-9]+-[0-9a-f]+\.mark")


class ProcessMark:
    """The mark of this process. Publish its name only after ``open``. Thread-safe."""

    def __init__(self, directory: str, group: str) -> None:
        self._directory = directory
        self._group = group
        self._descriptor = -1
        self._guard = threading.Lock()
        self.name = f"process-{os.getpid()}-{secrets.token_hex(8)}.mark"

    def open(self) -> None:
        """Make and lock the mark, once; raises OSError."""
        with self._guard:
            if self._descriptor >= 0:
                return
            descriptor = open_or_make(self._path, os.O_RDWR, self._group)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError:
                os.close(descriptor)
                raise
            self._descriptor = descriptor

    def close(self) -> None:
        """Remove the mark: from now on this process counts as dead. A second call does nothing."""
        with self._guard:
            if self._descriptor < 0:
                return
            with suppress(OSError):
                os.unlink(self._path)
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def _path(self) -> str:
        return os.path.join(self._directory, self.name)


class ProcessMarks:
    """The marks in one lock directory: this process's own, made on demand, and those of others. Thread-safe."""

    def __init__(self, directory: str, group: str, warn: Callable[[str], None]) -> None:
        self._directory = directory
        self._group = group
        self._warn = warn
        self._guard = threading.Lock()
        self._own: ProcessMark | None = None

    def own_name(self) -> str:
        """Return the name of this process's mark; "", with a warning, if it cannot be made."""
        with self._guard:
            if self._own is None:
                mark = ProcessMark(self._directory, self._group)
                try:
                    mark.open()
                except (OSError, PowerError) as error:
                    self._warn(f"Cannot mark this process in {self._directory}: {reason_of(error)}; its actions may read as interrupted")
                    return ""
                self._own = mark
            return self._own.name

    def is_alive(self, name: str) -> bool:
        """Tell if the process of a mark lives, or may live."""
        try:
            return bool(name) and mark_is_alive(self._directory, name)
        except OSError:
            return True

    def close(self) -> None:
        """Remove this process's mark: from now on it counts as dead. Never raises; a failure is a warning."""
        with self._guard:
            mark, self._own = self._own, None
        if mark is not None:
            try:
                mark.close()
            except OSError as error:
                self._warn(f"Cannot remove this process's mark in {self._directory}: {reason_of(error)}")


def mark_is_alive(directory: str, name: str) -> bool:
    """Tell if the process of a mark lives. An impossible name counts as dead, an unreadable mark as alive."""
    if not _NAME.fullmatch(name):
        return False
    try:
        descriptor = open_own(os.path.join(directory, name), os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
