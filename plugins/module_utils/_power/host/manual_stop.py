# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine itself notes of a stop, in a file of its own that it tells nobody of."""

from __future__ import annotations

import json
import os
import re

from ..model.nesting import is_nested_deeper
from .own_files import open_own

_ID = re.compile(r"[0-9a-f]{64}")
#: Bytes of a container's file; it has some thousand, and what its labels and variables have.
_MOST_BYTES = 8 * 1024 * 1024
_MOST_NESTED = 64


def manual_stop_mark(root: str, container: str) -> bool | None:
    """Tell if somebody sent this run of a container a signal through the API of the engine: whichever signal, whoever, and us among them.

    ``root`` is the engine's ``DockerRootDir``, ``container`` a full id. The engine writes the mark before it sends the signal, and takes it
    back at the next start. In its own shutdown it leaves no mark; but where it was killed, the next one stops what still runs when it
    begins, and marks that. None where it cannot be read: another machine, user or engine.
    """
    if not _ID.fullmatch(container) or not os.path.isabs(root):
        return None
    try:
        text = _text(os.path.join(root, "containers", container, "config.v2.json"))
        found = None if text is None or is_nested_deeper(text, _MOST_NESTED) else json.loads(text)
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("ID") != container:
        return None
    mark = found.get("HasBeenManuallyStopped")
    return mark if isinstance(mark, bool) else None


def _text(path: str) -> str | None:
    """Return what a file holds; None where that is too much."""
    with open(open_own(path, os.O_RDONLY), "rb") as source:
        data = source.read(_MOST_BYTES + 1)
    return None if len(data) > _MOST_BYTES else data.decode()
