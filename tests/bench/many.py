# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start many servers for the rows that need them, and remove them after success or failure."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._power.container.container_spec import container_spec
from ansible_collections.fleet.power.tests.integration.lab import IMAGE, Lab, wait_until

#: The engine starts only a few containers at the same time.
_AT_ONCE = 8


def in_parallel(work: Callable[[str], object], names: Sequence[str], at_once: int = _AT_ONCE) -> None:
    """Run ``work`` for each name, ``at_once`` at a time. The first error is raised, and no further work begins."""
    with ThreadPoolExecutor(at_once) as pool:
        try:
            for _done in pool.map(work, names):
                pass
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextlib.contextmanager
def servers(lab: Lab, count: int, *, seconds_to_stop: float = 0) -> Iterator[list[str]]:
    """Start ``count`` servers; SIGTERM stops them after ``seconds_to_stop``."""
    uuids = [lab.server(stop={"type": "signal", "value": "SIGTERM"}, done=(), STOP_SECONDS=seconds_to_stop) for _number in range(count)]

    def start(uuid: str) -> None:
        result = lab.power("start", uuid)
        assert result.outcome.value == "done", result.msg

    try:
        _report(f"starting {count} servers")
        in_parallel(start, uuids)
        yield uuids
    finally:
        take_away(lab, uuids)


@contextlib.contextmanager
def equals(lab: Lab, uuids: Sequence[str], **more: Any) -> Iterator[list[str]]:
    """Start containers that equal the servers, apart from name, labels and the engine's keys in ``more``."""
    names = [f"peer-{uuid}" for uuid in uuids]
    try:
        _report(f"starting {len(names)} equal containers")
        in_parallel(lambda name: _start_equal(lab, name, more), names)
        yield names
    finally:
        take_away(lab, names)


def _start_equal(lab: Lab, name: str, more: dict[str, Any]) -> None:
    node, uuid = lab.node(), name[len("peer-") :]
    image = node.engine.images.find(IMAGE[1:])
    assert image is not None
    spec = container_spec(node.sources.definition(uuid), node.settings, data_directory=str(lab.volume(uuid)), image_id=image.id)
    identity, _warnings = node.engine.containers.create(name, {**spec.config, "Labels": {}, **more})
    node.engine.start(identity)


class Restarts:
    """A check that the block restarts each of these containers and recreates no container."""

    def __init__(self, lab: Lab, names: Sequence[str]) -> None:
        self._lab, self._names = lab, names
        self._before: list[tuple[str, str]] = []

    def __enter__(self) -> None:
        self._before = self._runs()

    def __exit__(self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        if kind is not None:
            return
        for name, before, after in zip(self._names, self._before, self._runs()):
            assert after[0] == before[0], f"{name} was recreated instead of restarted"
            assert after[1] != before[1], f"{name} was not restarted"

    def _runs(self) -> list[tuple[str, str]]:
        found = [self._lab.container(name) for name in self._names]
        states = [(each, each["State"]) for each in found if each is not None and each["State"]["Running"]]
        assert len(states) == len(self._names), "a container is not up"
        return [(each["Id"], state["StartedAt"]) for each, state in states]


def take_away(lab: Lab, names: Sequence[str]) -> None:
    """Remove containers, also running ones and those that a killed process left behind. A second Ctrl-C does not stop the removal."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _await_free(lab, [name for name in names if name in lab.uuids])
        _report(f"removing {len(names)} containers")
        left = {name.lstrip("/"): row["Id"] for row in lab.client.containers(all=True) for name in row["Names"]}
        ours = {left[name + suffix] for name in names for suffix in ("", "-next", "-after") if name + suffix in left}
        in_parallel(lambda identity: _remove(lab, identity), sorted(ours))
        lab.uuids = [uuid for uuid in lab.uuids if uuid not in set(names)]
    finally:
        signal.signal(signal.SIGINT, before)


def _await_free(lab: Lab, uuids: Sequence[str]) -> None:
    """Wait until no action holds a server's lock: a begun action finishes, even after its command has ended."""
    locks = lab.node().locks
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not any(locks.holder(uuid) for uuid in uuids), "no action holds a lock", 120)


def _remove(lab: Lab, identity: str) -> None:
    import docker.errors

    with contextlib.suppress(docker.errors.NotFound):
        lab.client.remove_container(identity, force=True, v=True)


def _report(what: str) -> None:
    print(f"  {what} ...", file=sys.stderr, flush=True)
