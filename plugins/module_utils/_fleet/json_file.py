# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on the controller, mostly JSON, readable only by their owner. A write is complete or changes nothing."""

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
    """Write a text, mode 0600, to disk. A reader always finds the old text or the new one. Raises OSError."""
    folder, name = os.path.split(os.path.abspath(path))
    # mkstemp makes a file for its owner alone.
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
