# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call over the servers of a node: on the node itself, or through the HTTP endpoint of what runs them there."""

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
    """The call that a front door makes, wherever the servers are."""

    def targets(self, names: Sequence[str], asked: Request) -> list[Target]:
        """Return the servers that ``names`` mean, each once. Raises `SettingsInvalid`, and what a source of ``all`` raises."""

    def priorities(self, targets: Sequence[Target], given: Mapping[str, int]) -> list[int]:
        """Return the priority of each target; what is ``given`` counts first. Raises `InterruptedBySignal`."""

    def act(self, target: Target, slot: Slot) -> Result:
        """Act on one of them. Raises nothing."""

    def meant_up(self) -> list[Server] | None:
        """The servers that the last actions on them meant to be up; None if nobody can tell, which ``warnings`` explains."""

    def unlisted(self) -> list[str]:
        """Why ``targets`` of all may lack servers, a sentence for each list that could not be had; empty where they lack none."""

    def describe(self, names: Sequence[str], wanted: FactOptions, *, check: bool) -> Described:
        """Read the facts of the servers named, or of all. Raises `PowerError` where nothing can be."""

    def warnings(self) -> list[str]:
        """Return the warnings: what ends nothing."""

    def close(self) -> None:
        """Let go of files and connections."""


def open_call(options: Mapping[str, Any], *, caller: Caller = SILENT, read_only: bool = False) -> Call:
    """The call that options describe: those of `build_node`, and ``api_url`` and ``api_token``. Raises `SettingsInvalid`, and
    `UnsupportedByEndpoint` for an option that no endpoint can honour.

    An empty ``api_url`` is the node itself, whatever the settings say. Without ``api_token``, an endpoint that the settings name, or
    that is on this machine, gets the settings' token.
    """
    settings = load_settings(options.get("config"))
    if options.get("definitions_dir"):
        settings = replace(settings, definitions=options["definitions_dir"])
    url = settings.endpoint_url if options.get("api_url") is None else options["api_url"]
    if not url:
        return _OnNode(build_node(options, settings, caller=caller, read_only=read_only))
    # Most calls are made on the node, and need none of it.
    from .endpoint.call import at_endpoint

    return at_endpoint(url, options, settings, caller)


class _OnNode:
    """The engine, sources, locks and journal of this node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def targets(self, names: Sequence[str], asked: Request) -> list[Target]:
        node = self._node
        # Before anything else is asked or waited for.
        generations = read_generations(names, node, asked.action)
        asked = replace(asked, generations=generations, requested_at=node.clock.now())
        if means_all(names):
            refuse_only_offline(asked)
            if asked.action is PowerAction.KILL and asked.only is None and not asked.check:
                # Also those whose first start is only being prepared, and which nobody here knows yet.
                held = node.locks.held()
                with contextlib.suppress(LockUnavailable):
                    node.generations.raise_for_all()
                # Some have begun since their locks were looked at, of hundreds.
                held.update(node.locks.held())
                asked = replace(asked, held={uuid: holder.action for uuid, holder in held.items()})
            servers = everything(node, asked.action, self._look)
            if not asked.check:
                # Where none is left, nobody acts who would keep it.
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
            # Nobody has seen it yet; what is wrong with its definition is told when its turn comes.
            with contextlib.suppress(PowerError):
                definition = sources.definition(server.uuid, check_cancelled=self._look)
            self._look()
        return order.priority(server) if definition is None else order.priority(definition.server, definition.priority)

    def _look(self) -> None:
        if self._node.caller.interrupted():
            raise InterruptedBySignal("Cannot tell which servers are meant: a signal ended the search; nothing was done")

    # Whoever acts describes nothing, and the other way round: each imports its own half of the core.

    def act(self, target: Target, slot: Slot) -> Result:
        if target.request.action is PowerAction.LIMIT:
            from .actions.turn.limits import set_limits

            return set_limits(target.request, self._node, target.server, slot)
        from .actions.turn.perform import perform

        return perform(target.request, self._node, target.server, slot)

    def meant_up(self) -> list[Server] | None:
        return self._node.journal.intents.meant_up()

    def unlisted(self) -> list[str]:
        return [str(error) for error in self._node.sources.listing.unlisted]

    def describe(self, names: Sequence[str], wanted: FactOptions, *, check: bool) -> Described:
        from .actions.many.server_facts import describe

        node = self._node
        # What a reader has seen may be remembered where there is a journal; a run of ours is in one.
        remember = node.journal if check else build_journal(node.settings, node.clock)
        with contextlib.closing(remember):
            return describe(() if means_all(names) else names, node, wanted, remember=remember.runs.record_match)

    def warnings(self) -> list[str]:
        return [*self._node.settings.warnings, *self._node.sources.warnings, *self._node.journal.warnings]

    def close(self) -> None:
        self._node.journal.close()
