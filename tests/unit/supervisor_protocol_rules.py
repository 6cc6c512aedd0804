# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the supervisor's protocol."""

from __future__ import annotations

from enum import Enum


class Rule(Enum):
    """What the protocol asks of the supervisor, and of others for its sake."""

    ROW_BEFORE_START = "the row of an end is written before the start that it asks for"
    ROW_IS_UNIQUE = "an end has one row, named by container and StartedAt, and the first stays"
    START_ASKS_INTENT = "the start asks for the intent, with the lock held"
    JUDGE_ASKS_NONE = "an end is judged without the intent: that of a start under way is not written yet"
    START_ASKS_RECORD = "the start asks the lock record for a stop that left no intent, with the lock held"
    ROW_NAMES_RUN = "a row asks for a start only while its run is the newest: if another came, even one that is over, it starts nothing"
    INTENT_IS_KNOWN = "an intent that is gone, as in a journal begun anew, is not up"
    WRITES_NO_INTENT = "a person's stop at the engine is a verdict on this run, not an intent"
    ENDER_WRITES_ROW = "whoever ends a run here writes its row, with the intent where there is one"
    KEEP_UNWRITTEN = "a stop or kill that cannot write its intent says so in the lock record, even if it found the server down"
    KEEP_LEFTOVER = "a stop in the lock record stays until a newer run or a written intent, not only until its run has ended"
    KEEP_RESTART = "a restart's record says `to be started` from its stop until its start"
    KILL_ENDS_RESTART = "that record has the generation of its request: after a kill it is not to be started"
    KEEP_GENERATION = "a run remembers the generation of the latest start that was asked for it; another one explains a signal"
    STARTER_NOTES_END = "whoever starts a server or makes its container anew first writes a row of the end that it finds"
    KEEP_SEEN = "the journal keeps which run was seen up: when another is seen, it has a row, if only that it ended unseen"
    KEEP_CURSOR = "the next life hears again what has no row yet"
    AWAIT_SHUTDOWN = "a stop through the engine is judged when the engine still lets somebody in, else when its stream has broken"
    ENGINE_RESTORES = "what the engine's shutdown ended is started"
    MARK_BEFORE_ENGINE = "the engine's mark of a manual stop counts before its restart does"
    STARTUP_BEFORE_MARK = "what ended before the engine let anybody in was stopped by it, whatever its mark says"
    MARK_BEFORE_CODE = "the engine's mark of a manual stop counts before the exit code of an end that was not heard"
    MARK_DECIDES = "without that mark an end that was not heard is a crash, whatever its exit code"
    SIGNAL_SPOILS_MARK = "that mark says nothing of a run that another signal was sent to"
    KEEP_SIGNAL = "that such a signal was heard is kept in the journal: the engine does not tell it again after a boot"
    UNSEEN_IS_LEFT = "an end that was not heard, and that a stop may have brought, is left"
    BASELINE = "what is down at the first look of all is left"


ALL_RULES = frozenset(Rule)
