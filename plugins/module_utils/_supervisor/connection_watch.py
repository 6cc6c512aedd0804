# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection to the engine: read events, look at servers and start those that are due, until the connection breaks."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable

from .._power.actions.node.node import Node
from .._power.actions.node.run_end import limits_of
from .._power.engine.event_stream import ContainerEvent
from .._power.host.concurrency import map_concurrently
from .._power.host.pauses import is_node_stopping, maintenance_pause
from .._power.host.supervisor_record import NODE_STOPPING
from .._power.host.system_log import announce_line
from .._power.journal.schema import JournalUnusable
from .._power.model.cancellation import Deadline
from .._power.model.clock import SYSTEM_CLOCK, engine_time
from .._power.model.errors import ENGINE_FAULTS, EngineError, EngineUnreachable, LockUnavailable, WingsUnknown, internal_error
from .._power.model.records import dataclass
from .._power.model.server import Run
from .._power.model.supervision import CRASHES, EndedRun, Limits, Verdict, wait_before
from .end_reports import OBEY_SECONDS, STOPPING, EndReports
from .engine_link import EngineLink, EventReader
from .observer import Looked, Observer, Values, obeys_within
from .prover import Prover
from .restarter import Restarter
from .starter import Starter

_SAID = {
    Verdict.STOPPED: "stopped by an action",
    Verdict.RESTARTING: "stopped by a restart that has not started it yet",
    Verdict.ENGINE_STOPPED: "stopped with the engine",
    Verdict.STOPPED_EXTERNALLY: "stopped externally, left down",
    Verdict.CRASHED: "crashed",
    Verdict.HUNG: "hung, and was stopped",
    Verdict.ENDED: "ended",
    Verdict.ENDED_UNOBSERVED: "ended unobserved, left down",
    Verdict.INITIALLY_DOWN: "was initially down, left down",
}
_PAUSES = {
    "wings": "Wings is alive on this node: no run is judged, no server is started",
    "wings_unknown": "the processes of this node cannot be read, so Wings may be alive: no server is started",
    NODE_STOPPING: "the machine or its engine stops: no server is started until it is up again",
    "maintenance": "a maintenance is under way: no server is started until its end",
    "maintenance_unreadable": "maintenance.json in the state directory cannot be read: correct or remove it to start servers",
    "journal": "the journal cannot be read or written: no server is started",
    "engine": "the engine does not answer: nothing can be seen or started",
    "fault": "an internal error stops its work; see its unit's log",
}
#: Ends within this time are judged together, so that the more important servers start first.
_GATHER_SECONDS = 0.2
#: Seconds between two looks: at all servers, for a pause (reads all processes), for a pause if a start is due, and after a failed look.
_ALL_SECONDS, _PAUSE_SECONDS, _DUE_PAUSE_SECONDS, _RETRY_SECONDS = 60.0, 30.0, 1.0, 5.0
_REPLAY_SECONDS = 2.0
#: Seconds between two looks for new proofs.
_PROOFS_SECONDS = 1.0
#: The longest wait for an event. The supervisor notices SIGTERM after it.
_WAIT_SECONDS = 1.0
#: Limit for all looks together: one container without an answer must not delay the others.
_LOOK_SECONDS = 15.0
_SERVING_SECONDS = 5.0
#: Each round also inspects this part of the unchanged servers, because events get lost.
_ROUNDS = 10
_WARNED = (*CRASHES, Verdict.ENDED_UNOBSERVED, Verdict.INITIALLY_DOWN)
#: Keys in the journal: the first look is done, the boot, and the cursor in the engine's events.
LOOKED, BOOT, CURSOR = "looked", "boot", "cursor"
_NOW = Deadline(SYSTEM_CLOCK, 0.0)


def beside_wings(node: Node) -> bool:
    """Tell if Wings runs on the node and the settings do not allow that. Raises `WingsUnknown`."""
    return not node.settings.allow_wings and node.wings_pid() is not None


def pause_of(node: Node, *, in_trouble: bool) -> str:
    """Return why nothing may start now; empty if starts are allowed. ``in_trouble``: the last use of the journal failed."""
    try:
        if beside_wings(node):
            return "wings"
    except WingsUnknown:
        return "wings_unknown"
    stopping = is_node_stopping(node.settings.lock_directory)
    paused = NODE_STOPPING if stopping else maintenance_pause(node.settings.state_directory)
    if in_trouble and not paused:
        try:
            node.journal.store.rewrite()
        except (JournalUnusable, OSError):
            return "journal"
    return paused


def line_of(row: EndedRun, limits: Limits) -> str:
    """Return the log line for an ended run: its verdict, and when the next start is due."""
    name = f" ({row.server.name})" if row.server.name else ""
    words = [f"run of {row.server.uuid}{name} {_SAID.get(row.verdict, row.verdict.value)}"]
    if row.exit_code is not None:
        words.append(f"exit code {row.exit_code}")
    if row.oom_killed:
        words.append("out of memory")
    if row.seconds is not None:
        words.append(f"after {row.seconds:.0f} s")
    if row.counts and row.due and row.consecutive_crashes > limits.max_restarts:
        words.append(f"{row.consecutive_crashes} in a row, given up: tried once an hour")
    elif row.due:
        words.append(f"started in {wait_before(row.consecutive_crashes, row.tries, limits) if row.counts else 0:.0f} s")
    return ", ".join(words)


def pause_line(paused: str) -> str:
    return f"supervisor paused: {_PAUSES.get(paused, paused)}" if paused else "supervisor goes on"


def _after(seconds: float) -> Deadline:
    return Deadline.after(SYSTEM_CLOCK, seconds)


@dataclass(eq=False)
class EngineWatch:
    _node: Callable[[], Node]
    _link: EngineLink
    _reader: EventReader
    _reports: EndReports
    _starter: Starter
    _restarter: Restarter
    _prover: Prover
    _tell: Callable[[str], None]

    def __post_init__(self) -> None:
        self._observer = Observer(self._node, self._reports, self._link, self._cursor)
        self._dirty: dict[str, Deadline] = {}
        #: The last fault of this collection at each server.
        self._said: dict[str, str] = {}
        self._up: dict[str, Run] = {}
        #: Results of looks, by server. Each look adds its own when it ends.
        self._results: deque[tuple[str, Looked]] = deque()
        #: Servers without a first look, as the journal has them; None before the first entry.
        self._recorded_first: frozenset[str] | None = None
        self._round = 0
        self._next_all = self._next_pause = self._next_due_pause = self._next_proofs = _NOW
        self.paused = ""
        self.in_trouble = False

    def first_look(self) -> None:
        """Look at all servers. Servers that are down at the first look of a node stay down."""
        self._pause()
        if self.paused == "wings":
            return
        # The engine repeats past events at once. They say more about an end than a look does.
        deadline = _after(_REPLAY_SECONDS)
        while not deadline.is_over and (event := self._reader.next(_GATHER_SECONDS)) is not None:
            self._add(event)
        journal, everybody = self._node().journal, self._everybody()
        looked, *first = (journal.supervisor.value(LOOKED) or "").split() or [""]
        self._observer.first = set(first) if looked else set(everybody)
        self._recorded_first = frozenset(first) if looked else None
        if not looked:
            self._starter.cancel_all(self._node())
        self._dirty.update(dict.fromkeys(everybody | self._observer.first, _NOW))
        self._look()
        self._starter.remember(journal.ended_runs.due())
        self._next_all = _after(_ALL_SECONDS)

    def turn(self) -> None:
        """Process the next event and all due work. Raises `StreamEnded`, and the engine's errors if it answers nothing."""
        self._add(self._reader.next(self._seconds()))
        if self._next_pause.is_over:
            self._pause()
        if self.paused == "wings":
            return
        if self._next_all.is_over:
            self._look_at_all()
        for uuid in self._restarter.to_look_at():
            self._dirty.setdefault(uuid, _NOW)
        self._look()
        if self._observer.is_shutting_down:
            # An open stream would delay the end of the engine by some seconds.
            self._reader.close()
            return
        try:
            self._begin()
        except (JournalUnusable, OSError):
            self.notice_trouble()

    def _begin(self) -> None:
        """Begin all due work. Raises `JournalUnusable`, OSError."""
        if self._next_proofs.is_over:
            self._next_proofs = _after(_PROOFS_SECONDS)
            self._prover.begin()
        if self._starter.seconds_left() == 0 and self._may_begin():
            self._starter.begin()
        if self._restarter.is_due and self._may_begin():
            self._restarter.begin()

    def _may_begin(self) -> bool:
        if self._next_due_pause.is_over:
            self._pause()
        return not self.paused

    def notice_trouble(self) -> None:
        """Pause all starts until the journal works again."""
        self.in_trouble = True
        self._next_pause = _NOW

    def _seconds(self) -> float:
        if self.paused == "wings":
            return _WAIT_SECONDS
        waits = [_WAIT_SECONDS, self._next_all.left, self._next_proofs.left, *(at.left for at in self._dirty.values())]
        dues = [self._restarter.seconds_left(), None if self.paused else self._starter.seconds_left()]
        return max(0.0, min([*waits, *(max(due, 0.1) for due in dues if due is not None)]))

    def _cursor(self) -> Values:
        return ((CURSOR, f"{self._link.life} {self._reports.earliest()}"),)

    def _pause(self) -> None:
        """Find the cause of a pause. After Wings has gone, begin with a first look."""
        node, before = self._node(), self.paused
        found = pause_of(node, in_trouble=self.in_trouble)
        self.paused = before if (before, found) == ("wings", "wings_unknown") else found
        self._next_pause = _after(_RETRY_SECONDS if self.paused == "journal" else _PAUSE_SECONDS)
        self._next_due_pause = _after(_DUE_PAUSE_SECONDS)
        self.in_trouble = self.in_trouble and self.paused == "journal"
        self._tell(self.paused)
        if self.paused == "wings":
            if not node.journal.supervisor.set_values([(LOOKED, "")]):
                self.in_trouble = True
            self._dirty.clear()
        elif before == "wings":
            self.first_look()

    def _add(self, event: ContainerEvent | None) -> None:
        while event is not None:
            # Reports of other containers are never judged, so they would never be forgotten.
            if event.server is not None:
                self._reports.add(event, self._link.life)
                if not self._is_beside_wings():
                    self._note(event, event.server)
            event = self._reader.next(0)

    def _is_beside_wings(self) -> bool:
        try:
            return beside_wings(self._node())
        except WingsUnknown:
            return self.paused == "wings"

    def _note(self, event: ContainerEvent, server: str) -> None:
        if event.action == "kill":
            # An unknown signal may stop it.
            if event.signal is not None and event.signal not in STOPPING:
                self._spoil(event.container, event.at, server)
            return
        at = _after(0.0 if event.action == "start" else _GATHER_SECONDS)
        if server not in self._dirty or at.at < self._dirty[server].at:
            self._dirty[server] = at

    def _spoil(self, container: str, sent: int, server: str) -> None:
        """Record that the live run outlived a signal. From then on the engine's mark of a manual stop proves nothing."""
        node, snapshot = self._node(), None
        # If the inspection fails, the mark stays. The server then stays down instead of coming up unasked.
        with contextlib.suppress(*ENGINE_FAULTS):
            snapshot = node.engine.inspect(container)
        started = None if snapshot is None else engine_time(snapshot.started_at)
        # A repeated event may belong to an earlier run.
        if snapshot is None or not snapshot.live or started is None or started.timestamp() > sent / 1e9:
            return
        if not node.journal.runs.spoil(server, snapshot.run):
            self.notice_trouble()

    def _note_outlived(self, container: str, server: str | None) -> None:
        """Record that a container outlived all signals that it had time to obey. If the time is unknown, a later look does it."""
        node, seconds = self._node(), OBEY_SECONDS
        if server is not None:
            try:
                seconds = obeys_within(node, server, node.engine.inspect(container))
            except ENGINE_FAULTS:
                # Its stop timeout may be longer than the default.
                return
        sent = self._reports.disobeyed(container, time.time_ns() - int(seconds * 1e9))
        if sent is not None and server is not None:
            self._spoil(container, sent, server)

    def _everybody(self) -> set[str]:
        journal = self._node().journal
        rows = (*journal.ended_runs.due(), *journal.ended_runs.pending())
        return {each.server for each in self._node().engine.listed()} | journal.runs.uuids() | {row.server.uuid for row in rows}

    def _look_at_all(self) -> None:
        """Look for changed servers, at a tenth of the others, and at rows without a verdict."""
        node = self._node()
        self._next_all = _after(_ALL_SECONDS)
        self._round = (self._round + 1) % _ROUNDS
        try:
            found = [each for each in node.engine.listed() if each.live]
            listed = {each.id: each.server for each in found}
            lost = {row.server.uuid for row in node.journal.ended_runs.pending()} | (node.journal.runs.open() - self._up.keys())
            for container in self._reports.signalled_before(time.time_ns() - int(OBEY_SECONDS * 1e9)):
                self._note_outlived(container, listed.get(container))
            self._starter.remember(node.journal.ended_runs.due())
            self._starter.free_changed(node)
            node.journal.supervisor.set_values(self._cursor())
        except (JournalUnusable, OSError):
            self.notice_trouble()
            return
        lost |= {uuid for uuid, run in self._up.items() if listed.get(run.container) != uuid}
        lost |= {uuid for container, uuid in listed.items() if uuid not in self._up or self._up[uuid].container != container}
        lost |= self._restarter.changed(found)
        lost |= {uuid for number, uuid in enumerate(sorted(self._up)) if number % _ROUNDS == self._round}
        for uuid in lost:
            self._dirty.setdefault(uuid, _NOW)

    def _look(self) -> None:
        uuids = [uuid for uuid, at in self._dirty.items() if at.is_over]
        for uuid in uuids:
            del self._dirty[uuid]
        try:
            for uuid, has_looked in zip(uuids, map_concurrently(self._try_to_look, uuids, _LOOK_SECONDS)):
                if not has_looked:
                    self._dirty[uuid] = _after(_RETRY_SECONDS)
        finally:
            self._take_results()

    def _take_results(self) -> None:
        """Use the results of all finished looks, also of slow looks that began earlier."""
        # Two looks at one server may have written the same row.
        rows: dict[int, EndedRun] = {}
        while self._results:
            uuid, looked = self._results.popleft()
            self._restarter.saw(uuid, looked.snapshot)
            self._up.pop(uuid, None)
            if looked.up is not None:
                self._up[uuid] = looked.up
            if looked.again is not None:
                self._dirty.setdefault(uuid, _after(looked.again))
            rows.update((row.number, row) for row in looked.rows)
            self._starter.remember([*looked.due, *looked.rows])
        if rows:
            self._say(rows.values())
        self._restarter.note()
        self._record_first()

    def _record_first(self) -> None:
        """Record which servers still lack a first look, so that the next supervisor process does not look at all again."""
        first = frozenset(self._observer.first)
        if first != self._recorded_first and self._node().journal.supervisor.set_values([(LOOKED, " ".join(["yes", *sorted(first)]))]):
            self._recorded_first = first

    def _try_to_look(self, uuid: str) -> bool:
        """Look at a server; False if it cannot be seen now. Raises `EngineUnreachable` if the engine answers nothing."""
        try:
            self._results.append((uuid, self._observer.look(uuid)))
            return True
        except EngineUnreachable:
            if not self._node().engine.events.is_serving(_SERVING_SECONDS):
                raise
        except (EngineError, LockUnavailable):
            pass
        except (JournalUnusable, OSError):
            self.notice_trouble()
        except Exception as error:
            # One server's fault must not stop the watch over the others.
            self._say_once(uuid, internal_error(error, f"Cannot look at server {uuid}"))
        return False

    def _say_once(self, uuid: str, fault: str) -> None:
        if self._said.get(uuid) != fault:
            self._said[uuid] = fault
            announce_line(f"supervisor: {fault}", warn=True)

    def _say(self, rows: Iterable[EndedRun]) -> None:
        node = self._node()
        node.journal.sync()
        for row in rows:
            announce_line(line_of(row, limits_of(node, row.server)), warn=row.verdict in _WARNED)
