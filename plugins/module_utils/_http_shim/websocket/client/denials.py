# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens that the Panel has taken back before their time; pure: moments come as arguments, in seconds since 1970."""

from __future__ import annotations

from collections.abc import Iterable

from .claims import Claims

#: More than any Panel takes back while one of its tokens is good, which is ten minutes. No clock makes one forgotten, since it may be set.
_MOST = 20_000


class Denials:
    """Knows the tokens that were taken back, and when. A later token of the same user and server is another one."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._at)

    def deny(self, numbers: Iterable[str], now: float) -> None:
        """Take back the tokens of these ids (``jti``) that were made before now."""
        for number in numbers:
            self._at.pop(number, None)
            self._at[number] = now
        while len(self._at) > _MOST:
            del self._at[next(iter(self._at))]

    def has(self, claims: Claims) -> bool:
        """Tell whether a token was taken back."""
        at = self._at.get(claims.jti)
        return at is not None and claims.issued_at <= at
