# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbers of players in an answer: taken where they are some, whatever else it holds; pure."""

from __future__ import annotations

from ..model.players import MOST_PLAYERS, PlayerCount

_MOST_DIGITS = len(str(MOST_PLAYERS))


class Unanswered(Exception):
    """A game that did not answer, or not as its kind does; the text says why, as it stands after who was asked."""


def number_of(told: object) -> int | None:
    """Return the number of players that was told, as a number or in plain digits; None where it is none, or more than play anywhere."""
    if isinstance(told, (str, bytes)) and len(told) <= _MOST_DIGITS and told.isdigit() and told.isascii():
        told = int(told)
    if isinstance(told, bool) or not isinstance(told, int) or not 0 <= told <= MOST_PLAYERS:
        return None
    return told


def counted(online: int | None, most: object) -> PlayerCount:
    """Return the count of an answer. Raises `Unanswered` where it does not say who plays."""
    if online is None:
        raise Unanswered("answers, but not how many play")
    return PlayerCount(online, number_of(most))
