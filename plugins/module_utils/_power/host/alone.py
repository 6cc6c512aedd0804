# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The right to be the only process of its kind on a node: a lock file in the state directory, which dies with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator

from ..model.errors import LockUnavailable
from .own_files import open_or_make


@contextlib.contextmanager
def alone(path: str, group: str, what: str, first: Callable[[], str]) -> Iterator[int]:
    """Hold that right; the descriptor of its file. ``what`` cannot be done otherwise, ``first`` names who does it already.

    Raises `LockUnavailable`.
    """
    try:
        descriptor = open_or_make(path, os.O_RDWR, group)
    except OSError as error:
        raise LockUnavailable(f"Cannot {what}: {path} cannot be made: {error.strerror}; see system.state_directory") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockUnavailable(f"Cannot {what}: {first()}") from None
        except OSError as error:
            raise LockUnavailable(f"Cannot {what}: {path} cannot be locked: {error.strerror}") from error
        yield descriptor
    finally:
        os.close(descriptor)
