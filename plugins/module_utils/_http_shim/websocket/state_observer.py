# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of one server, as every reader sees it. For threads, one at a time."""

from __future__ import annotations

from dataclasses import replace

from ..._power.actions.boot.await_ready import seen_ready
from ..._power.actions.node.node import Node
from ..._power.engine.readiness import Matchers
from ..._power.model.server import PowerState, Run, Startup
from ..acceptance.shared_node import SharedNode
from ..process.log import Log
from .views import ServerView, view_of


class StateObserver:
    """Looks at one server."""

    def __init__(self, uuid: str, node: SharedNode, log: Log) -> None:
        self._uuid = uuid
        self._node = node
        self._log = log
        self._known_matchers: tuple[Run, Matchers] | None = None
        self._warned: set[str] = set()

    def see(self) -> tuple[ServerView, Matchers | None]:
        """Return the server as it is now and, where it is starting, what says that it is ready. Raises `PowerError`."""
        node = self._node.now()
        seen = node.observe(self._uuid)
        view = view_of(seen, node.journal.runs.of(self._uuid) if seen.live else None)
        if view.state is not PowerState.STARTING or seen.snapshot is None:
            return view, None
        run = seen.snapshot.run
        matchers = self._matchers(run, node)
        ready = seen_ready(node, seen.snapshot, matchers, seen.startup)
        # What the follower was told is said with the next look.
        for warning in set(matchers.warnings) - self._warned:
            self._warned.add(warning)
            self._log.warn("readiness", server=self._uuid, reason=warning)
        if not ready:
            return view, matchers
        node.journal.runs.record_match(self._uuid, run)
        return replace(view, state=PowerState.RUNNING, startup=Startup.MATCHED), None

    def _matchers(self, run: Run, node: Node) -> Matchers:
        """Return what says that a run is ready; it is one object for as long as the run lasts."""
        known = self._known_matchers
        if known is None or known[0] != run:
            definition = node.sources.definition_for_stop(self._uuid)
            known = self._known_matchers = run, Matchers((), strip=False) if definition is None else Matchers.of(definition.startup)
        return known[1]
