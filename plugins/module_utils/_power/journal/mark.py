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

_NAME = re.compile(r"process-[0-9]+-[0-9a-f]+\.mark")


class ProcessMarks:
    """The marks in one lock directory: this process's own, made on demand, and those of others. Thread-safe."""

    def __init__(self, directory: str, group: str, warn: Callable[[str], None]) -> None:
        self._directory = directory
        self._group = group
        self._warn = warn
        self._guard = threading.Lock()
        self._name, self._descriptor = "", -1

    def own_name(self) -> str:
        """Return the name of this process's mark, which is made and locked; "", with a warning, if it cannot be made."""
        with self._guard:
            if self._descriptor < 0:
                name = f"process-{os.getpid()}-{secrets.token_hex(8)}.mark"
                try:
                    self._descriptor = self._make(os.path.join(self._directory, name))
                except OSError as error:
                    self._warn(f"Cannot mark this process in {self._directory}: {reason_of(error)}; its actions may read as interrupted")
                    return ""
                self._name = name
            return self._name

    def _make(self, path: str) -> int:
        descriptor = open_or_make(path, os.O_RDWR, self._group)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def is_alive(self, name: str) -> bool:
        """Tell if the process of a mark lives, or may live. An impossible name counts as dead, an unreadable mark as alive."""
        if not _NAME.fullmatch(name):
            return False
        try:
            with os.fdopen(open_own(os.path.join(self._directory, name), os.O_RDONLY), "rb") as mark:
                fcntl.flock(mark.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            # A living process holds it, or it cannot be read.
            return True
        return False

    def close(self) -> None:
        """Remove this process's mark: from now on it counts as dead. Never raises; a failure is a warning."""
        with self._guard:
            descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        with suppress(OSError):
            os.unlink(os.path.join(self._directory, self._name))
        try:
            os.close(descriptor)
        except OSError as error:
            self._warn(f"Cannot remove this process's mark in {self._directory}: {reason_of(error)}")
