# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Live containers by the server that their labels name: one list for all who ask at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from ..model.errors import EngineError, PowerError


class LiveByLabel:
    """Answers from a list that was begun after the question, so that nothing is missed; hundreds of questions need a few lists.

    ``read`` returns the ids of containers by the UUIDs that they claim, and raises `PowerError`.
    """

    def __init__(self, read: Callable[[], Mapping[str, Sequence[str]]]) -> None:
        self._read = read
        self._changed = threading.Condition()
        self._begun = 0
        self._ended = 0
        self._answer: Mapping[str, Sequence[str]] | PowerError = {}

    def of(self, uuid: str) -> Sequence[str]:
        """The ids of live containers that claim to be the server's, whatever their names. Raises what reading raises."""
        with self._changed:
            wanted = self._begun + 1
            while self._ended < wanted and self._begun > self._ended:
                self._changed.wait()
            if self._ended >= wanted:
                return _told(self._answer, uuid)
            self._begun += 1
        answer: Mapping[str, Sequence[str]] | PowerError = EngineError("Cannot list the containers: another question for them failed")
        try:
            answer = self._read()
        except PowerError as error:
            answer = error
        finally:
            with self._changed:
                self._ended = self._begun
                self._answer = answer
                self._changed.notify_all()
        return _told(answer, uuid)


def _told(answer: Mapping[str, Sequence[str]] | PowerError, uuid: str) -> Sequence[str]:
    if isinstance(answer, PowerError):
        # Each who asked raises its own.
        raise type(answer)(str(answer), **answer.facts) from answer
    return answer.get(uuid, ())
