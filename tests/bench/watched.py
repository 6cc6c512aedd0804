# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What it costs that a task is followed: the same task with and without, on real nodes."""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ansible_collections.fleet.power.tests.bench.measure import Row, Spread, alternately, ratio
from ansible_collections.fleet.power.tests.fleet import lab

_QUICK_ROUNDS, _LONG_ROUNDS, _MANY_ROUNDS = 10, 2, 3
_LONG_SECONDS = 60
#: Many nodes: of each so many servers, whose stops take up to so long.
_NODES, _SERVERS, _STOP_SECONDS = 16, 5, 20
_WITHOUT = {"FLEET_POWER_FOLLOW": "0"}


def quick(nodes: Sequence[lab.Node]) -> list[Row]:
    """A task that has nothing to do."""
    node = nodes[0]
    server = lab.server("quick")
    lab.bring_up({node: [server]})
    where = lab.inventory([node])

    def task(surroundings: Mapping[str, str]) -> Callable[[], float]:
        return lambda: _acted(where, f"server={lab.uuid_of(server)} action=start", surroundings).seconds

    followed, plain = alternately([task({}), task(_WITHOUT)], _QUICK_ROUNDS, warm_up=1)
    return [ratio("quick task, whole command", followed.shown_in("s"), plain.shown_in("s"), "not followed", 1.05)]


def minute(nodes: Sequence[lab.Node]) -> list[Row]:
    """A task that stops a server for a minute: time, and the controller's processor time."""
    node = nodes[0]
    server = lab.server("slow", STOP_SECONDS=_LONG_SECONDS)
    node.define(server)
    where = lab.inventory([node])
    used: dict[str, list[float]] = {"followed": [], "plain": []}

    def task(name: str, surroundings: Mapping[str, str]) -> Callable[[], float]:
        def run() -> float:
            _acted(where, f"server={lab.uuid_of(server)} action=start", _WITHOUT)
            before = _processor_seconds()
            seconds = _acted(where, f"server={lab.uuid_of(server)} action=stop", surroundings).seconds
            used[name].append(_processor_seconds() - before)
            return seconds

        return run

    followed, plain = alternately([task("followed", {}), task("plain", _WITHOUT)], _LONG_ROUNDS)
    processor = [Spread(tuple(used[name]), "s") for name in ("followed", "plain")]
    return [
        ratio(f"task of {_LONG_SECONDS} s", followed.shown_in("s"), plain.shown_in("s"), "not followed", 1.05),
        ratio(f"controller's processor time for a task of {_LONG_SECONDS} s", *processor, "not followed", 1.1),
    ]


def many(nodes: Sequence[lab.Node]) -> list[Row]:
    """A rolling restart of many nodes: the controller's processor time."""
    chosen = nodes[:_NODES]
    for node in chosen:
        node.define(
            *(lab.server(f"{node.name}-{number}", STOP_SECONDS=(number + 1) * _STOP_SECONDS / _SERVERS) for number in range(_SERVERS))
        )
    where = lab.inventory(chosen)
    _succeeds(lab.playbook("power", where, power_action="start", power_servers="all"))

    def run(surroundings: Mapping[str, str], serial: int) -> Callable[[], float]:
        def measured() -> float:
            before = _processor_seconds()
            forks = {"ANSIBLE_FORKS": str(_NODES)}
            _succeeds(lab.playbook_begun("rolling_restart", where, surroundings={**surroundings, **forks}, rollout_serial=serial).finish())
            return _processor_seconds() - before

        return measured

    rows = []
    for serial, words in ((0, "all at once"), (4, "four at a time")):
        followed, plain = alternately([run({}, serial), run(_WITHOUT, serial)], _MANY_ROUNDS)
        what = f"controller's processor time, rolling_restart of {_NODES} nodes of {_SERVERS} servers, {words}"
        rows.append(ratio(what, followed.shown_in("s"), plain.shown_in("s"), "not followed", 1.1))
    return rows


def watched(nodes: Sequence[lab.Node]) -> list[Row]:
    """All of it."""
    return [*quick(nodes), *minute(nodes), *many(nodes)]


def _acted(where: Path, arguments: str, surroundings: Mapping[str, str]) -> lab.Ran:
    return _succeeds(lab.adhoc_begun(where, "server_power", arguments, surroundings=surroundings).finish())


def _succeeds(ran: lab.Ran) -> lab.Ran:
    if ran.rc != 0:
        raise RuntimeError(ran.output[-3000:])
    return ran


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
