# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers of a rolling run, their order, and their batches; pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..._power.model.errors import SettingsInvalid
from ..._power.model.report import none_up_message
from ..._power.model.request import POWER_ACTIONS, OnFailedStart, PowerAction, Priorities, read_priorities
from ..._power.model.server import SHORT_ID_PATTERN, PowerState, Server, parse_uuid
from ..look_result import code_of, is_unseen, reason_of
from .values import BOOTS, UP, Amount, Candidate, RolloutError, one_of, parse_amount, parse_count, parse_flag, text_list

ALL = "all"


@dataclass(frozen=True)
class Criteria:
    """The action, and the criteria for its servers. A server must meet all of them."""

    action: str
    #: None: all of them.
    names: tuple[str, ...] | None = None
    states: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    eggs: tuple[str, ...] = ()
    #: Whether the container must be outdated. If that is unknown, the server counts: its node decides.
    outdated: bool = False
    #: Whether to skip a suspended server instead of a failure.
    skip_suspended: bool = False
    priorities: Priorities = field(default_factory=Priorities)

    @property
    def only(self) -> tuple[str, ...]:
        """The states that a server must have in its turn; empty: any. For some actions, "all" means servers that are up."""
        if self.names is None and PowerAction(self.action).traits.all_means_up:
            return tuple(state for state in UP if not self.states or state in self.states)
        return self.states


@dataclass(frozen=True)
class Choice:
    """The selected servers, the suspended ones that must not boot, names without a server, and servers without facts."""

    chosen: tuple[Candidate, ...]
    suspended: tuple[Candidate, ...] = ()
    missing: tuple[str, ...] = ()
    unseen: tuple[Candidate, ...] = ()


def criteria(given: Mapping[str, Any]) -> Criteria:
    """Return the criteria from the role's variables without their prefix. Raises `RolloutError` for invalid ones."""
    action = one_of("action", given.get("action"), POWER_ACTIONS)
    names: tuple[str, ...] | None = text_list("servers", given.get("servers"))
    if not names:
        raise RolloutError("Cannot tell which servers to act on: rollout_servers is empty; give names, or all")
    if ALL in names:
        if len(names) > 1:
            raise RolloutError("Cannot tell which servers to act on: all must be the only entry of rollout_servers")
        names = None
    made = Criteria(
        action=action,
        names=names,
        states=tuple(one_of("states", state, list(PowerState)) for state in text_list("states", given.get("states", ()))),
        labels={str(key): str(value) for key, value in _map("labels", given.get("labels")).items()},
        eggs=tuple(egg.lower() for egg in text_list("eggs", given.get("eggs", ()))),
        outdated=parse_flag("outdated", given.get("outdated", False)),
        skip_suspended=one_of("suspended", given.get("suspended", "fail"), ("fail", "skip")) == "skip",
        priorities=_priorities(given.get("priorities")),
    )
    if made.outdated and action != PowerAction.RESTART.value:
        raise RolloutError(f"Cannot {action} with rollout_outdated: it applies only to {PowerAction.RESTART.value}")
    _check_revert(action, given)
    if names is None and made.states and not made.only:
        raise RolloutError(none_up_message(PowerAction(action)))
    return made


def _check_revert(action: str, given: Mapping[str, Any]) -> None:
    """Check the variables for a start that fails. Raises `RolloutError`."""
    if given.get("on_failed_start") is not None:
        one_of("on_failed_start", given["on_failed_start"], list(OnFailedStart))
    for name in ("on_failed_start", "settle"):
        if given.get(name) is not None and action not in BOOTS:
            raise RolloutError(f"Cannot {action} with rollout_{name}: it applies only to {' and '.join(BOOTS)}")
    if parse_flag("retry_reverted", given.get("retry_reverted", False)) and action != PowerAction.RESTART.value:
        raise RolloutError(f"Cannot {action} with rollout_retry_reverted: it applies only to {PowerAction.RESTART.value}")


def candidates(seen: Mapping[str, Sequence[Mapping[str, Any]]], asked: Criteria) -> list[Candidate]:
    """Return every server of the nodes, with its effective priority."""
    return [_candidate(node, entry, asked.priorities) for node, entries in seen.items() for entry in entries]


def choose(known: Iterable[Candidate], asked: Criteria) -> Choice:
    """Return the selected servers. Raises `RolloutError` for a name of several servers."""
    known = list(known)
    found, missing = _found(known, asked.names)
    if any(parse_uuid(name) is None for name in missing):
        # A missing name may belong to a server with an unknown name.
        found += [candidate for candidate in known if candidate.unseen_code and not candidate.name and candidate not in found]
    selected = [candidate for candidate in found if candidate.unseen_code or _meets(candidate, asked)]
    return replace(part(selected, asked), missing=tuple(missing))


def part(selected: Iterable[Candidate], asked: Criteria) -> Choice:
    """Return the servers in three parts: ready for the action, suspended, and unseen."""
    boots = asked.action in BOOTS
    ready: list[Candidate] = []
    suspended: list[Candidate] = []
    unseen: list[Candidate] = []
    for candidate in selected:
        (unseen if candidate.unseen_code else suspended if boots and candidate.suspended else ready).append(candidate)
    return Choice(tuple(ready), tuple(suspended), unseen=tuple(unseen))


def named(known: Iterable[Candidate], names: Iterable[str]) -> list[Candidate]:
    """Return the servers that one of the names fits, even if it is ambiguous."""
    return [candidate for candidate in known if any(_matches([candidate], name) for name in names)]


def _candidate(node: str, entry: Mapping[str, Any], priorities: Priorities) -> Candidate:
    uuid, name = str(entry["server"]), str(entry.get("name") or "")
    own = entry.get("priority")
    # Another action boots it, so it is down only for a moment.
    boots = entry.get("state") == "offline" and (entry.get("lock") or {}).get("action") in BOOTS
    return Candidate(
        node=node,
        server=uuid,
        name=name,
        state="starting" if boots else str(entry.get("state") or ""),
        any_state=boots,
        priority=priorities.priority(Server(uuid, name), None if own is None else int(own)),
        suspended=bool(entry.get("suspended")),
        outdated=_is_outdated(entry),
        egg=str(entry.get("egg") or "").lower(),
        labels={str(key): str(value) for key, value in (entry.get("labels") or {}).items()},
        unseen_code=code_of(entry) if is_unseen(entry) else "",
        unseen_reason=reason_of(entry) if is_unseen(entry) else "",
    )


def _is_outdated(entry: Mapping[str, Any]) -> bool | None:
    """Tell whether a container is outdated; a missing one is not. None is unknown."""
    if "outdated" not in entry:
        return None
    outdated = (entry["outdated"] or {"is_outdated": False}).get("is_outdated")
    return outdated if isinstance(outdated, bool) else None


def _found(known: list[Candidate], names: tuple[str, ...] | None) -> tuple[list[Candidate], list[str]]:
    if names is None:
        return known, []
    found: dict[tuple[str, str], Candidate] = {}
    missing = []
    for name in names:
        matches = _matches(known, name)
        if len({candidate.server for candidate in matches}) > 1:
            where = ", ".join(f"{candidate.server} on {candidate.node}" for candidate in matches[:3])
            raise RolloutError(f"Cannot find one server for {name}: there are {where}; give UUIDs", "ambiguous_server")
        found.update({(candidate.node, candidate.server): candidate for candidate in matches})
        if not matches:
            missing.append(name)
    return list(found.values()), missing


def _matches(known: list[Candidate], name: str) -> list[Candidate]:
    """Match by UUID, else by short id, else by name, as the nodes do."""
    uuid = parse_uuid(name)
    if uuid is not None:
        return [candidate for candidate in known if candidate.server == uuid]
    if SHORT_ID_PATTERN.fullmatch(name.lower()):
        short = [candidate for candidate in known if candidate.server.startswith(name.lower())]
        if short:
            return short
    return [candidate for candidate in known if candidate.name == name]


def _meets(candidate: Candidate, asked: Criteria) -> bool:
    only = asked.only
    return (
        (not only or candidate.state in only)
        and (not asked.outdated or candidate.outdated is not False)
        and (not asked.eggs or candidate.egg in asked.eggs)
        and all(candidate.labels.get(key) == value for key, value in asked.labels.items())
    )


def _map(name: str, value: object) -> Mapping[Any, Any]:
    if value is None or value in ("", []):
        return {}
    if not isinstance(value, Mapping):
        raise RolloutError(f"Cannot use rollout_{name}={value!r}: expected a map")
    return value


def _priorities(value: object) -> Priorities:
    try:
        return Priorities.of(read_priorities(_map("priorities", value)))
    except SettingsInvalid as error:
        raise RolloutError(str(error).replace("priorities.", "rollout_priorities.", 1)) from None


@dataclass(frozen=True)
class Pacing:
    """The form of batches: nodes at a time, servers of one node at a time, and the canary."""

    #: The nodes of each step; the last repeats. Empty: all nodes.
    serial: tuple[Amount, ...] = ()
    #: 0: all of a node's servers.
    batch_size: int = 0
    #: A number of servers, or a node, that goes first and alone; 0: none.
    canary: int | str = 0


@dataclass(frozen=True)
class Batch:
    """Servers that the nodes act on together. They have one priority."""

    servers: tuple[Candidate, ...]
    canary: bool = False


def pacing(given: Mapping[str, Any], nodes: Sequence[str]) -> Pacing:
    """Return the pacing from the role's variables without their prefix. Raises `RolloutError` for invalid ones."""
    canary = given.get("canary", 0) or 0
    if canary not in nodes:
        if isinstance(canary, str) and not canary.isdigit():
            raise RolloutError(f"Cannot take {canary} as canary: it is neither a number nor a node of this play")
        canary = parse_count("canary", canary)
    serial = given.get("serial", 0)
    steps = serial if isinstance(serial, Sequence) and not isinstance(serial, str) else [serial]
    return Pacing(tuple(parse_amount("serial", step) for step in steps), parse_count("batch_size", given.get("batch_size", 0)), canary)


def batches(candidates: Sequence[Candidate], nodes: Sequence[str], action: str, pace: Pacing) -> list[Batch]:
    """Return the batches, the canary's first. Each has one priority: lowest first, or highest first for actions that stop servers."""
    order = {node: number for number, node in enumerate(nodes)}
    sign = -1 if PowerAction(action).traits.should_be_up is False else 1

    def rank(each: Candidate) -> tuple[Any, ...]:
        # A batch has one value of each of these: a node gets them once for the whole batch.
        alike = sign * each.priority, not each.again, not each.any_state, each.asked_by
        return (*alike, order[each.node], each.name, each.server)

    ordered = sorted(candidates, key=rank)
    canary = pace.canary
    first = ordered[:canary] if isinstance(canary, int) else [candidate for candidate in ordered if candidate.node == canary]
    chosen = {(candidate.node, candidate.server) for candidate in first}
    rest = [candidate for candidate in ordered if (candidate.node, candidate.server) not in chosen]
    steps = _steps(pace.serial, len({candidate.node for candidate in candidates}))
    # The canary has the same batch size, but the steps of serial begin after it.
    return [
        *(Batch(cut, canary=True) for cut in _cut(first, itertools.repeat(len(nodes)), pace.batch_size)),
        *(Batch(cut) for cut in _cut(rest, steps, pace.batch_size)),
    ]


def _steps(serial: tuple[Amount, ...], total: int) -> Iterator[int]:
    """Yield the number of nodes of each step, without end: at least one, and all nodes for 0 or an empty serial."""
    for amount in serial[:-1]:
        yield _nodes(amount, total)
    last = serial[-1] if serial else Amount()
    yield from itertools.repeat(_nodes(last, total))


def _nodes(amount: Amount, total: int) -> int:
    return max(total, 1) if amount == Amount() else max(amount.of(total), 1)


def _cut(ordered: list[Candidate], steps: Iterator[int], size: int) -> Iterator[tuple[Candidate, ...]]:
    # Servers of any state and servers of an earlier request need a separate request.
    for _alike, same in itertools.groupby(ordered, key=lambda each: (each.priority, each.again, each.any_state, each.asked_by)):
        by_node = [list(servers) for _node, servers in itertools.groupby(same, key=lambda each: each.node)]
        while by_node:
            count = next(steps, len(by_node))
            taken, by_node = by_node[:count], by_node[count:]
            most = max(len(servers) for servers in taken)
            for begin in range(0, most, size or most):
                yield tuple(server for servers in taken for server in servers[begin : begin + (size or most)])
