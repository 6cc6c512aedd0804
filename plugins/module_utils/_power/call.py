# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call over the servers of a node: on the node itself, or through its HTTP endpoint. A power action as options ask for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Union

from .actions.many.bulk import Target, all_of, everything, means_all, named, perform_each, refuse_only_offline
from .actions.node.context import keyed
from .actions.node.limiter import Limiter, Slot
from .actions.node.node import Node, build_journal, build_node, read_generations
from .definitions.definition import priority_of
from .definitions.settings import load_settings
from .model.caller import SILENT, Caller, default_origin
from .model.errors import IntentUnknown, InterruptedBySignal, LockUnavailable, PowerError, SettingsInvalid
from .model.news import News
from .model.option import Option
from .model.players import read_policy
from .model.records import dataclass
from .model.request import DEFAULT_PRIORITY, OnFailedStart, PowerAction, Priorities, Request, WaitFor, read_priorities
from .model.result import Result
from .model.server import PowerState, Server
from .options import POWER_OPTIONS, WAIT_SECONDS

if TYPE_CHECKING:
    from .actions.many.server_facts import FactOptions
    from .endpoint.call import AtEndpoint
    from .model.report import Described


#: A call, wherever the servers are. `_OnNode` describes the methods.
Call = Union["_OnNode", "AtEndpoint"]


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
        """Return the servers of ``names``, each once. Raises `SettingsInvalid`, and errors of sources for ``all``."""
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
        """Return the priority of each target; ``given`` counts first. Raises `InterruptedBySignal`."""
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
        return priority_of(server, definition, order)

    def _look(self) -> None:
        if self._node.caller.interrupted():
            raise InterruptedBySignal("Cannot tell which servers to act on: a signal ended the search; nothing was done")

    # Actions and facts each import only their half of the core.

    def act(self, target: Target, slot: Slot) -> Result:
        """Run the action on one server. Raises nothing."""
        from .actions.turn.perform import perform

        return perform(target.request, self._node, target.server, slot)

    def should_be_up(self) -> list[Server] | None:
        """Return the servers that should be up; None if unknown, and ``warnings`` says why."""
        return self._node.journal.intents.should_be_up()

    def unlisted(self) -> list[str]:
        """Return a message for each list of servers that ``targets`` of all could not read."""
        return [str(error) for error in self._node.sources.listing.unlisted]

    def describe(self, names: Sequence[str], wanted: FactOptions, *, check: bool) -> Described:
        """Read the facts of the named servers, or of all. Raises `PowerError` if nothing is readable."""
        from .actions.many.server_facts import describe

        node = self._node
        # If there is a journal, it remembers what a reader saw.
        remember = node.journal if check else build_journal(node.settings, node.clock)
        with contextlib.closing(remember):
            return describe(() if means_all(names) else names, node, wanted, remember=remember.runs.record_match)

    def warnings(self) -> list[str]:
        node = self._node
        return [*node.settings.warnings, *node.sources.warnings, *node.journal.warnings, *node.engine.warnings]

    def close(self) -> None:
        self._node.journal.close()


@dataclass(frozen=True)
class Performed:
    """A power action that ended. ``unlisted`` has a message for each list of servers that could not be read."""

    results: Sequence[Result]
    unlisted: Sequence[str]
    warnings: Sequence[str]


def perform_options(
    options: Mapping[str, Any], caller: Caller, *, check: bool, diff: bool, begin: Callable[[Sequence[Target]], None]
) -> Performed:
    """Perform the power action of `checked` options. ``begin`` gets the servers. Raises `PowerError` if nothing can begin."""
    with contextlib.closing(open_call(options, caller=caller, read_only=check)) as call:
        asked = _request_of(options, check=check, diff=diff)
        if options["if_meant_up"]:
            asked = replace(asked, should_be_up=_should_be_up(call, asked.action))
        targets = call.targets(options["server"], asked)
        limiter = Limiter(options["max_parallel"], options["max_failures"], options["stagger"])
        begin(targets)
        priorities = call.priorities(targets, options["priorities"]) if options["in_order"] else None

        def act(target: Target, slot: Slot) -> Result:
            result = call.act(target, slot)
            caller.listener(News.of_end(result))
            return result

        results = perform_each(targets, act, limiter, priorities)
    warnings = (*call.warnings(), *(warning for result in results for warning in result.warnings))
    return Performed(results, call.unlisted(), warnings)


def _should_be_up(call: Call, action: PowerAction) -> frozenset[str]:
    """Return the servers that should be up, by UUID. Raises `IntentUnknown` instead of a guess."""
    servers = call.should_be_up()
    if servers is None:
        why = "; ".join(call.warnings()) or "the journal does not tell"
        raise IntentUnknown(
            f"Cannot {action.value} the servers that should be up: their intents are unknown ({why}); look at the servers, and name "
            "them without if_meant_up"
        )
    return frozenset(server.uuid for server in servers)


def checked(given: Mapping[str, Any], warn: Callable[[str], object]) -> dict[str, Any]:
    """Return the options of a power action. A wait out of bounds becomes the default, with a warning. Raises `SettingsInvalid`."""
    options = dict(given)
    if options["server"] != [] and not [text for text in options["server"] or () if text.strip()]:
        raise SettingsInvalid("Cannot act: no server is named; pass server=NAME, a list of servers, or server=all")
    _refuse_unfit(options)
    wait = WAIT_SECONDS
    if not wait.holds(options["wait_seconds"]):
        warn(f"wait_seconds={options['wait_seconds']} is outside {wait.least} to {wait.most}; {wait.default} is used")
        options["wait_seconds"] = wait.default
    check_bounds(options, POWER_OPTIONS)
    options["priorities"] = read_priorities(options["priorities"])
    return options


def _refuse_unfit(options: Mapping[str, Any]) -> None:
    """Raise `SettingsInvalid` for an option that the action cannot have."""
    action, boots = options["action"], [each.value for each in PowerAction if each.boots]
    for name, fitting, advice in (
        ("if_meant_up", boots, "use only instead"),
        ("outdated", [PowerAction.RESTART.value], "use only instead"),
        ("retry_reverted", [PowerAction.RESTART.value], "leave it out"),
        ("on_failed_start", boots, "leave it out"),
        ("settle", boots, "leave it out"),
    ):
        if action not in fitting and options[name] is not None and options[name] is not False:
            raise SettingsInvalid(f"Cannot {action} with {name}: it applies only to {' and '.join(fitting)}; {advice}")


def check_bounds(options: Mapping[str, Any], declared: Mapping[str, Option]) -> None:
    """Raise `SettingsInvalid` for a number out of the bounds of its option."""
    for name, option in declared.items():
        if option.least is not None and options[name] is not None and not option.holds(options[name]):
            raise SettingsInvalid(f"Cannot use {name}={options[name]}: expected a whole number {option.limit}")


def _request_of(options: Mapping[str, Any], *, check: bool, diff: bool) -> Request:
    action = PowerAction(options["action"])
    return Request(
        server="",
        action=action,
        operation="",
        requested_at=datetime.now(timezone.utc),
        wait_seconds=options["wait_seconds"],
        stop_timeout=options["stop_timeout"],
        wait_for=WaitFor(options["wait_for"]),
        wait_timeout=options["wait_timeout"],
        only=None if options["only"] is None else frozenset(PowerState(state) for state in options["only"]),
        on_failed_start=None if options["on_failed_start"] is None else OnFailedStart(options["on_failed_start"]),
        settle=options["settle"],
        outdated=options["outdated"],
        retry_reverted=options["retry_reverted"],
        adopt=options["adopt"],
        players=read_policy(action.value, action.traits.affects_players, options),
        check=check,
        diff=diff,
        origin=options["origin"] or default_origin(),
        reason=keyed(options["once"] or "", options["reason"] or ""),
        idempotency_key=options["once"] or "",
    )
