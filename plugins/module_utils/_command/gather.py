# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node knows of a server, for ``fleet-power why``."""

from __future__ import annotations

import contextlib
from typing import Any

from .._power.actions.many.bulk import everything
from .._power.actions.many.server_facts import FactOptions, ask_players, describe
from .._power.actions.many.service_facts import freeze_facts
from .._power.actions.node.node import Node, read_generations
from .._power.actions.turn.perform import perform
from .._power.definitions.rules import idle
from .._power.definitions.settings import selectors_in
from .._power.host.pauses import MAINTENANCE_RECORD, maintenance_of
from .._power.model.errors import ContainerForeign, PowerError
from .._power.model.records import replace
from .._power.model.request import PowerAction, Request
from .._power.model.server import PowerState, Server
from .why import Known


def gather(node: Node, server: Server) -> Known:
    """Gather what is known of a server. Each part that cannot be read is unknown, and a warning says why."""
    wanted = FactOptions(operations=5, crashes=3, count_players=ask_players)
    warnings: list[str] = []
    try:
        found = describe([server.uuid], node, wanted, remember=lambda _uuid, _run: None)
        entry, warnings = (found.entries or [{}])[0], list(found.warnings)
    except PowerError as error:
        entry = {"state": None, "code": error.code, "msg": str(error)}
    if entry.get("state") is None:
        entry = {**entry, **_known_here(node, server)}
    start = adopted = None
    # A silent engine takes the whole timeout of each call.
    if entry.get("state") is not None and not entry.get("lock"):
        action = PowerAction.START if entry["state"] == PowerState.OFFLINE.value else PowerAction.RESTART
        generations = read_generations([server.uuid], node, action)
        asked = Request(server.uuid, action, "", node.clock.now(), generations, check=True)
        start = perform(asked, node)
        if start.code == ContainerForeign.code:
            adopted = perform(replace(asked, adopt=True), node)
        warnings += (adopted or start).warnings
    try:
        maintenance: Any = maintenance_of(node.settings.state_directory)
    except (OSError, ValueError) as error:
        maintenance = f"{MAINTENANCE_RECORD} in {node.settings.state_directory} cannot be read: {error}"
    name = entry.get("name") or server.name or server.short_id
    version = None
    with contextlib.suppress(PowerError):
        version = node.engine.version()
    unused: list[str] = []
    with contextlib.suppress(PowerError):
        unused = [] if entry.get("state") is None else _unused_rules(node)
    warnings += node.journal.warnings
    # Of several servers with one name, or with the name of an option, only this names it.
    name = server.uuid if server.name == server.uuid or name.startswith("-") else name
    entry, is_readable = {**entry, "server": server.uuid}, not node.journal.warnings
    return Known(
        name,
        entry,
        node.clock.now(),
        start,
        adopted,
        maintenance,
        warnings,
        is_readable,
        version,
        unused,
    )


def _unused_rules(node: Node) -> list[str]:
    """Return the places of the rules in the settings that select no server of the node; none unless all servers are known."""
    selectors = selectors_in(node.settings)
    servers = everything(node, None) if selectors else []
    if node.sources.listing.unlisted:
        return []
    return idle(selectors, ((server, node.sources.definition_for_stop(server.uuid)) for server in servers))


def _known_here(node: Node, server: Server) -> dict[str, Any]:
    """Return the facts of a server that need no engine."""
    uuid, journal, known = server.uuid, node.journal, freeze_facts(node)
    holder, countdown, intent = node.locks.holder(uuid), node.countdowns.running(uuid), journal.intents.of(uuid)
    return {
        "server": uuid,
        "lock": None if holder is None else holder.facts(),
        "countdown": None if countdown is None else countdown.facts(),
        "freeze": known and known.of(uuid),
        "intent": None if intent is None else {"up": intent.up, "origin": intent.origin, "at": intent.at},
        "operations": [vars(row) for row in journal.operations.of(uuid, 5)],
    }
