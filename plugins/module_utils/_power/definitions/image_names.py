# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of images, as settings mean many of them by one; pure."""

from __future__ import annotations

import re

#: What follows a whole part of an image's reference: a further one, a tag or digest, or nothing. What a colon begins and a slash ends is a
#: port, and with it another registry.
_PART_END = re.compile(r"/|[:@][^/]*\Z|\Z")


def begins_with(reference: str, name: str) -> bool:
    """Tell if ``name`` is the beginning of an image's reference, in whole parts."""
    trimmed = name.rstrip("/")
    return bool(trimmed) and reference.startswith(trimmed) and _PART_END.match(reference, len(trimmed)) is not None
