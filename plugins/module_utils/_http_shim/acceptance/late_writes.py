# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes that the journal could not take in time, made as soon as it can. For the acceptor's thread."""

from __future__ import annotations

from collections.abc import Sequence

from ..._power.journal.schema import JournalUnusable
from ..._power.model.cancellation import Deadline
from ..._power.model.errors import internal_error
from ..process.log import Log
from .shared_node import SharedNode
from .writes import Afterwards, writes_of

#: Seconds between two attempts to use a journal that cannot be read or written.
AGAIN_SECONDS = 5.0


class LateWrites:
    """Settles what is owed to the journal."""

    def __init__(self, node: SharedNode, log: Log) -> None:
        self._owed = node.journal.owed
        self._clock = node.clock
        self._log = log
        #: Why it cannot be written, and until when not to try again.
        self._reason = ""
        self._next_try = Deadline(node.clock, float("-inf"))

    def owe(self, after: Sequence[Afterwards], reason: str) -> None:
        """Have these written later, since they cannot be written now for this reason."""
        for each in after:
            for write in writes_of([each]):
                self._owed.add(each.uuid, write)
        if after:
            self._cannot_settle(reason)

    def settle(self, *, last: bool) -> None:
        """Write what is owed, if it is time to try, or this is the ``last`` time."""
        if not self._owed or not (self._next_try.is_over or last):
            return
        try:
            self._owed.settle()
        except (JournalUnusable, OSError) as error:
            self._cannot_settle(str(error) or error.__class__.__name__)
        except Exception as error:
            self._log.error("not_recorded", reason=internal_error(error))
        else:
            self._reason, self._next_try = "", Deadline(self._clock, float("-inf"))
            self._log.note("recorded_late")

    def _cannot_settle(self, reason: str) -> None:
        self._next_try = Deadline.after(self._clock, AGAIN_SECONDS)
        if reason != self._reason:
            self._reason = reason
            self._log.error("not_recorded_yet", reason=reason)
