# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a signal such as Ctrl-C ends a task's worker, the worker first informs its node."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

#: Ansible passes these signals on to its workers. Each worker is a session of its own, which the terminal does not reach.
_ENDINGS = (signal.SIGINT, signal.SIGTERM)
#: The node may be out of reach.
TELL_SECONDS = 3.0


class _Ended(BaseException):
    """The worker must end. It is no `Exception`, so that code in between does not catch it."""


@contextlib.contextmanager
def telling_when_ended(tell: Callable[[], object]) -> Iterator[None]:
    """On SIGINT or SIGTERM leave the work by an exception, since ``tell`` may need its connection and locks; call it and end."""
    handlers = _Handlers()
    try:
        yield
    except BaseException:
        # The unwound work may fail as well, for example on a closed pipe.
        if handlers.ended_by is None:
            raise
    finally:
        if handlers.ended_by is not None:
            with contextlib.suppress(Exception):
                tell()
            handlers.end(handlers.ended_by)
        handlers.restore()


class _Handlers:
    """The signal handlers of this process: the earlier ones, and ours, which raise `_Ended`."""

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self.ended_by: int | None = None
        # Only the main thread can set handlers.
        with contextlib.suppress(ValueError):
            for number in _ENDINGS:
                self._before[number] = signal.signal(number, self._note)

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def end(self, number: int) -> NoReturn:
        """End the process as the earlier handler does."""
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
        # The exception can be lost, for example in a destructor. Then the alarm ends the process.
        signal.signal(signal.SIGALRM, lambda _number, _frame: self.end(number))
        signal.setitimer(signal.ITIMER_REAL, TELL_SECONDS)
        raise _Ended
