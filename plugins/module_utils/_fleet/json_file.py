# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on the controller, JSON above all: whole or as they were, and for their owner's eyes only."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile

from .._power.host.own_files import sync_directory


def write_json(path: str, value: object) -> None:
    """Write JSON as `write_text` does."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: str, text: str) -> None:
    """Write a text, mode 0600, so that whoever reads the file at any moment finds the old text or the new one.

    It is on the disk when this returns. The directory must be there. Raises OSError.
    """
    folder, name = os.path.split(os.path.abspath(path))
    # A file of mkstemp is its owner's alone.
    descriptor, fresh = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise
    sync_directory(folder)
