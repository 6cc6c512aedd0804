# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the progress of tasks. The forks of Ansible share a board in its directory for temporary files."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence

from ansible import constants
from ansible_collections.fleet.power.plugins.module_utils._fleet.progress import Board, pace
from ansible_collections.fleet.power.plugins.plugin_utils._output import speak
from ansible_collections.fleet.power.plugins.plugin_utils._rollout_report import RunReport, shared_state

_FILE = "fleet-power-progress"


class TaskProgress:
    """The progress of one task on one host: a context around the job."""

    def __init__(self, host: str, *, mute: bool = False, reports: bool = True) -> None:
        """``mute`` shows nothing. With ``reports`` the report of a rolling run gets the news."""
        self._host = host
        self._mute = mute
        self._path = os.path.join(constants.DEFAULT_LOCAL_TMP, _FILE)
        self._followed = 1
        self._report = RunReport(constants.DEFAULT_LOCAL_TMP) if reports else None

    def __enter__(self) -> TaskProgress:
        if not self._mute:
            with self._board() as board:
                board.begin(self._host)
                self._followed = board.followed
        return self

    def __exit__(self, *_error: object) -> None:
        """Show the rest, unless other tasks still run and will show it."""
        if not self._mute:
            with self._board() as board:
                board.end(self._host)
                self._show(board)

    @property
    def pace(self) -> tuple[float, float]:
        """Seconds for which the node gathers news, and waits for the first."""
        gather, patience = pace(self._followed)
        return (patience, patience) if self._mute else (gather, patience)

    def take(self, lines: Sequence[str]) -> None:
        """Show the news since the last answer."""
        if self._report is not None:
            self._report.note(self._host, lines)
        if not self._mute:
            with self._board() as board:
                board.take(self._host, lines, time.time())
                self._show(board)
                self._followed = board.followed

    def say(self, text: str) -> None:
        """Show a line about the host itself."""
        if not self._mute:
            with self._board() as board:
                board.say(self._host, text)
                self._show(board)

    @staticmethod
    def _show(board: Board) -> None:
        for line in board.lines(time.time()):
            speak(line)

    @contextlib.contextmanager
    def _board(self) -> Iterator[Board]:
        """Return the board under its lock. An unreadable board begins anew: progress must never cause a failure."""
        with shared_state(self._path, create=True) as state:
            board = Board(state)
            yield board
            state.update(board.state())
