# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens that the Panel has taken back before their time; pure: moments come as arguments, in seconds since 1970."""

from __future__ import annotations

from collections.abc import Iterable

from .claims import Claims

#: The Panel's tokens are good for ten minutes: a denial that is older says nothing any more.
_SECONDS = 3600.0
#: More than any Panel takes back in that time.
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
        while self._at:
            oldest, at = next(iter(self._at.items()))
            if len(self._at) <= _MOST and at >= now - _SECONDS:
                break
            del self._at[oldest]

    def has(self, claims: Claims) -> bool:
        """Tell whether a token was taken back."""
        at = self._at.get(claims.jti)
        return at is not None and claims.issued_at <= at
