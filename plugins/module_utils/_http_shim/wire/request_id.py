# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ids of requests: random UUIDs of version 4, from randomness that is fetched for many at a time. For one thread."""

from __future__ import annotations

import os

_FETCHED = 256


class RequestIds:
    """A source of ids."""

    def __init__(self) -> None:
        self._random: list[str] = []

    def new(self) -> str:
        """Return one that nobody has seen before."""
        if not self._random:
            fetched = os.urandom(16 * _FETCHED).hex()
            self._random = [fetched[start : start + 32] for start in range(0, len(fetched), 32)]
        text = self._random.pop()
        variant = "89ab"[int(text[16], 16) & 3]
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


new_id = RequestIds().new
