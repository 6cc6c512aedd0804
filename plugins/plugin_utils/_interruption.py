# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task's worker that is ended in order, as by Ctrl-C, has a moment to tell its node; then it ends as it would have without that."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

#: How Ansible ends its workers: what it was sent itself. Each of them is a session of its own, out of reach of a terminal.
_ENDINGS = (signal.SIGINT, signal.SIGTERM)
#: Longest that the node is tried to be told; it may be out of reach.
TELL_SECONDS = 3.0


class _Ended(BaseException):
    """The worker is to end. No `Exception`, which whatever runs in between might take for one of its own."""


@contextlib.contextmanager
def telling_when_ended(tell: Callable[[], object]) -> Iterator[None]:
    """Call ``tell`` if this process is sent SIGINT or SIGTERM meanwhile, and end.

    What is done just then is left by an exception: ``tell`` may need the same connection, and whatever was locked is unlocked.
    """
    handlers = _Handlers()
    handlers.set()
    try:
        yield
    except BaseException:
        # What is left on the way may fail as well, as where nobody listens any more.
        if handlers.ended_by is None:
            raise
    finally:
        if handlers.ended_by is not None:
            with contextlib.suppress(Exception):
                tell()
            handlers.end(handlers.ended_by)
        handlers.restore()


class _Handlers:
    """The signal handlers of this process: those it had, and ours."""

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        #: The signal that came; None if none did.
        self.ended_by: int | None = None

    def set(self) -> None:
        """Have an ending raise `_Ended`. In a thread beside the main one no signal is ever noticed."""
        with contextlib.suppress(ValueError):
            for number in _ENDINGS:
                self._before[number] = signal.signal(number, self._note)

    def restore(self) -> None:
        """Have every ending do again what it did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def end(self, number: int) -> NoReturn:
        """End as without any of this."""
        handler = self._before.get(number)
        self.restore()
        signal.setitimer(signal.ITIMER_REAL, 0)
        if callable(handler):
            handler(number, None)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        raise SystemExit(1)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.ended_by = number
        for each in _ENDINGS:
            signal.signal(each, signal.SIG_IGN)
        # Also where what is raised here is lost, as in a destructor.
        signal.signal(signal.SIGALRM, lambda _number, _frame: self.end(number))
        signal.setitimer(signal.ITIMER_REAL, TELL_SECONDS)
        raise _Ended
