# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call over the servers of a node: on the node itself, or through its HTTP endpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from .actions.many.bulk import Target, all_of, everything, means_all, named, refuse_only_offline
from .actions.node.limiter import Slot
from .actions.node.node import Node, build_journal, build_node, read_generations
from .definitions.settings import load_settings
from .model.caller import SILENT, Caller
from .model.errors import InterruptedBySignal, LockUnavailable, PowerError
from .model.request import DEFAULT_PRIORITY, PowerAction, Priorities, Request
from .model.result import Result
from .model.server import Server

if TYPE_CHECKING:
    from .actions.many.server_facts import FactOptions
    from .model.report import Described


class Call(Protocol):
    """A call, wherever the servers are."""

    def targets(self, names: Sequence[str], asked: Request) -> list[Target]:
        """Return the servers of ``names``, each once. Raises `SettingsInvalid`, and errors of sources for ``all``."""

    def priorities(self, targets: Sequence[Target], given: Mapping[str, int]) -> list[int]:
        """Return the priority of each target; ``given`` counts first. Raises `InterruptedBySignal`."""

    def act(self, target: Target, slot: Slot) -> Result:
        """Run the action on one server. Raises nothing."""

    def should_be_up(self) -> list[Server] | None:
        """Return the servers that should be up; None if unknown, and ``warnings`` says why."""

    def unlisted(self) -> list[str]:
        """Return a message for each list of servers that ``targets`` of all could not read."""

    def describe(self, names: Sequence[str], wanted: FactOptions, *, check: bool) -> Described:
        """Read the facts of the named servers, or of all. Raises `PowerError` if nothing is readable."""

    def warnings(self) -> list[str]:
        """Return the warnings."""

    def close(self) -> None:
        """Close files and connections."""


def open_call(options: Mapping[str, Any], *, caller: Caller = SILENT, read_only: bool = False) -> Call:
    """Return the call for options: those of `build_node`, ``api_url`` and ``api_token``.

    An empty ``api_url`` selects the node itself, whatever the settings say. Without ``api_token``, the settings' token goes to an endpoint
    that is in the settings or on this machine. Raises `SettingsInvalid`, and `UnsupportedByEndpoint` for an option that endpoints lack.
    """
    settings = load_settings(options.get("config"))
    if options.get("definitions_dir"):
        settings = replace(settings, definitions=options["definitions_dir"])
    url = settings.endpoint_url if options.get("api_url") is None else options["api_url"]
    if not url:
        return _OnNode(build_node(options, settings, caller=caller, read_only=read_only))
    # Most calls run on the node and do not need it.
    from .endpoint.call import at_endpoint

    return at_endpoint(url, options, settings, caller)


class _OnNode:
    def __init__(self, node: Node) -> None:
        self._node = node

    def targets(self, names: Sequence[str], asked: Request) -> list[Target]:
        node = self._node
        # Before any other query or wait.
        generations = read_generations(names, node, asked.action)
        asked = replace(asked, generations=generations, requested_at=node.clock.now())
        if means_all(names):
            refuse_only_offline(asked)
            if asked.action is PowerAction.KILL and asked.only is None and not asked.check:
                # Includes servers whose first start is still being prepared, and which have no trace here yet.
                held = node.locks.held()
                with contextlib.suppress(LockUnavailable):
                    node.generations.raise_for_all()
                # Among hundreds, some began in the meantime.
                held.update(node.locks.held())
                asked = replace(asked, held=held)
            servers = everything(node, asked.action, self._look)
            if not asked.check:
                # If no server is left, no action keeps the list.
                node.sources.keep_list()
            return all_of(asked, servers)
        return named(asked, names, lambda name: node.sources.search.identify(name, asked.action, check_cancelled=self._look))

    def priorities(self, targets: Sequence[Target], given: Mapping[str, int]) -> list[int]:
        order = Priorities.of(given, self._node.settings.priorities)
        return [DEFAULT_PRIORITY if target.server is None else self._priority(target.server, order, target) for target in targets]

    def _priority(self, server: Server, order: Priorities, target: Target) -> int:
        sources = self._node.sources
        definition = sources.definition_for_stop(server.uuid)
        if definition is None and target.request.action.boots:
            # An error of the definition is reported at the server's turn.
            with contextlib.suppress(PowerError):
                definition = sources.definition(server.uuid, check_cancelled=self._look)
            self._look()
        return order.priority(server) if definition is None else order.priority(definition.server, definition.priority)

    def _look(self) -> None:
        if self._node.caller.interrupted():
            raise InterruptedBySignal("Cannot tell which servers to act on: a signal ended the search; nothing was done")

    # Actions and facts each import only their half of the core.

    def act(self, target: Target, slot: Slot) -> Result:
        from .actions.turn.perform import perform

        return perform(target.request, self._node, target.server, slot)

    def should_be_up(self) -> list[Server] | None:
        return self._node.journal.intents.should_be_up()

    def unlisted(self) -> list[str]:
        return [str(error) for error in self._node.sources.listing.unlisted]

    def describe(self, names: Sequence[str], wanted: FactOptions, *, check: bool) -> Described:
        from .actions.many.server_facts import describe

        node = self._node
        # If there is a journal, it remembers what a reader saw.
        remember = node.journal if check else build_journal(node.settings, node.clock)
        with contextlib.closing(remember):
            return describe(() if means_all(names) else names, node, wanted, remember=remember.runs.record_match)

    def warnings(self) -> list[str]:
        return [*self._node.settings.warnings, *self._node.sources.warnings, *self._node.journal.warnings]

    def close(self) -> None:
        self._node.journal.close()
