# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The run's own files on the controller: whole or as they were, and for their owner's eyes only."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from typing import Any

from .record import Record, from_json, to_json
from .words import RolloutError


def write(path: str, value: object) -> None:
    """Write JSON so that whoever reads the file at any moment finds the old text or the new one. Raises `RolloutError`."""
    folder = os.path.dirname(path) or "."
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{os.path.basename(path)}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(value, file, indent=1)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise RolloutError(f"Cannot write {path}: {error.strerror or error}; nothing more is begun", "file_unwritable") from error


def remove(path: str) -> None:
    """Remove a file that may be there. Raises `RolloutError`."""
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    except OSError as error:
        raise RolloutError(f"Cannot remove {path}: {error.strerror or error}", "file_unwritable") from error


def save(path: str, record: Record) -> None:
    """Write the run as it is now."""
    write(path, to_json(record))


def load(path: str) -> Record:
    """The run that was written. Raises `RolloutError` naming the file."""
    return from_json(_read(path), path)


def _read(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise RolloutError(f"Cannot read {path}: {error.strerror or error}", "resume_invalid") from error
    except ValueError as error:
        raise RolloutError(f"Cannot read {path}: it is not JSON ({error})", "resume_invalid") from error
