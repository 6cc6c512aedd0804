# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers of a request, and one action on each of them."""

from __future__ import annotations

import contextlib
import resource
import threading
from collections.abc import Callable, Iterable, Sequence

from ...model.cancellation import CheckCancelled, no_check
from ...model.clock import SYSTEM_CLOCK
from ...model.errors import AmbiguousServer, DefinitionInvalid, EngineUnreachable, NotSelected, PowerError, ServerNotFound, SettingsInvalid
from ...model.records import dataclass, replace
from ...model.report import Unseen, none_up_message
from ...model.request import ALL, PowerAction, Request, new_operation_id, tiers
from ...model.result import Result
from ...model.server import PowerState, Server
from ..node.limiter import Limiter, Slot
from ..node.node import Node
from ..node.progress import Progress, fault_of_ours

_UP = frozenset(state for state in PowerState if state is not PowerState.OFFLINE)


@dataclass(frozen=True)
class Target:
    request: Request
    server: Server | None
    #: Why the name has no server.
    fault: PowerError | None = None


def means_all(names: Sequence[str]) -> bool:
    """Return True if the only name is the word for all. Raises `SettingsInvalid` if it has other names beside it."""
    stripped = [name.strip() for name in names]
    if ALL in stripped and len(stripped) > 1:
        raise SettingsInvalid(f"Cannot tell which servers to act on: server={ALL} stands alone; leave out the other names")
    return stripped == [ALL]


def everything(node: Node, action: PowerAction | None, check_cancelled: CheckCancelled = no_check) -> list[Server]:
    """Return every server of the listable sources, and every container of ours or of Wings, by UUID. ``action`` None only reads.

    Raises the errors of the engine and of ``check_cancelled``; for start and restart also those of unlistable sources. A kill needs no
    engine: without an answer it gets the servers that should be up, and the engine is unlisted.
    """
    found = {server.uuid: server for server in node.sources.listing.everything(action, check_cancelled=check_cancelled)}
    try:
        others = node.engine.servers()
    except EngineUnreachable as error:
        if action is not PowerAction.KILL:
            raise
        node.sources.listing.unlisted.append(error)
        others = node.journal.intents.should_be_up() or []
    for server in others:
        found.setdefault(server.uuid, server)
    return [found[uuid] for uuid in sorted(found)]


def refuse_only_offline(asked: Request) -> None:
    """Raise `SettingsInvalid` if the states select no server for an action on all that are up."""
    if asked.action.traits.all_means_up and asked.only and not asked.only & _UP:
        raise SettingsInvalid(none_up_message(asked.action))


def one_of_all(request: Request, server: Server) -> Request:
    """Return the request for all as one for this server; some actions select only servers that are up."""
    only = request.only
    if request.action.traits.all_means_up:
        only = _UP if only is None else only & _UP
    return replace(request, server=server.uuid, only=only, one_of_all=True)


def is_left_out(result: Result, request: Request) -> bool:
    """Return True if the server is down, and the action selects all that are up."""
    passed_over = result.code == NotSelected.code and result.state is PowerState.OFFLINE
    return request.one_of_all and request.action.traits.all_means_up and passed_over


def all_of(asked: Request, servers: Iterable[Server]) -> list[Target]:
    return [Target(one_of_all(_new(asked), server), server) for server in servers]


def named(asked: Request, names: Sequence[str], identify: Callable[[str], Server]) -> list[Target]:
    """Return one target for each different server named. Errors of ``identify`` appear in the action's result."""
    chosen: dict[str, Target] = {}
    for name in names:
        try:
            target = Target(replace(_new(asked), server=name), identify(name))
        except PowerError as error:
            target = Target(replace(_new(asked), server=name), None, error)
        chosen.setdefault(name if target.server is None else target.server.uuid, target)
    return list(chosen.values())


def refuse_bad_names(targets: Sequence[Target]) -> None:
    """Raise if one of several names means no server, or more than one: a person may not want the others alone."""
    for fault in (each.fault for each in targets if len(targets) > 1):
        if isinstance(fault, (AmbiguousServer, ServerNotFound)):
            raise type(fault)(f"{fault}; nothing was done")


def _new(asked: Request) -> Request:
    return replace(asked, operation=new_operation_id())


def choose(names: Sequence[str], identify: Callable[[str], Server]) -> tuple[list[Server | Unseen], list[str]]:
    """Return the named servers, each once, and a message for each unknown name."""
    found: dict[str, Server | Unseen] = {}
    warnings = []
    for name in names:
        try:
            server = identify(name)
        except ServerNotFound as error:
            # An unreadable definition may have this name.
            if error.facts.get("unread"):
                found.setdefault(name, Unseen(Server(name), DefinitionInvalid.code, str(error)))
            else:
                warnings.append(str(error))
        except PowerError as error:
            found.setdefault(name, Unseen.because(Server(name), error))
        else:
            found.setdefault(server.uuid, server)
    return list(found.values()), warnings


_FILES = 8192

#: Acts on one server in its slot; raises nothing.
Act = Callable[[Target, Slot], Result]


def perform_each(
    targets: Sequence[Target], act: Act, limiter: Limiter, priorities: Sequence[int] | None = None, *, is_shared: bool = False
) -> list[Result]:
    """Act on the targets, in order where there is one; return the results in the given order.

    ``priorities``, one for each target, makes tiers: each begins after the end of the last, highest first if the action takes servers down.
    An action on all that are up omits servers that are down. ``is_shared``: other calls use the limiter too.
    """
    results: list[Result | None] = [None] * len(targets)

    def act_on(index: int, slot: Slot) -> None:
        try:
            result = _acted(targets[index], act, slot)
            limiter.count(result)
            results[index] = result
        finally:
            slot.leave()

    if len(targets) == 1 and not is_shared:
        # A single server waits for no slot.
        act_on(0, Slot())
    else:
        # Each server may need a lock and an output at once: more files than most systems allow by default.
        allow_files(_FILES)
        takes_down = any(target.request.action.traits.should_be_up is False for target in targets)
        for tier in [range(len(targets))] if priorities is None else tiers(priorities, highest_first=takes_down):
            _in_threads(tier, act_on, limiter)
    return [result for target, result in zip(targets, results) if result is not None and not is_left_out(result, target.request)]


def _acted(target: Target, act: Act, slot: Slot) -> Result:
    """A fault of ours on one server neither hides other results nor stays hidden."""
    try:
        return act(target, slot)
    except Exception as error:
        return Progress(target.request, SYSTEM_CLOCK, target.server).result(*fault_of_ours(error))


def _in_threads(indexes: Sequence[int], act_on: Callable[[int, Slot], None], limiter: Limiter) -> None:
    threads = []
    for index in indexes:
        slot = limiter.slot()
        slot.begin()
        thread = threading.Thread(target=act_on, args=(index, slot))
        try:
            thread.start()
        except RuntimeError:
            # No more threads: act here.
            act_on(index, slot)
        else:
            threads.append(thread)
    for thread in threads:
        thread.join()


def allow_files(number: int) -> None:
    """Raise this process's limit of open files as far as allowed; a failure is ignored."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(hard, number)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
