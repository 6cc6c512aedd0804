# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands for many servers at once: a process that does not read delays no other server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers import commands as commands_file
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers.commands import NOT_READ, TOO_MANY, Commands
from ansible_collections.fleet.power.plugins.module_utils._power.container.container_labels import LABEL_SERVER, LABEL_SPEC, LABEL_STOP
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.stop_way import stop_way_text
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SYSTEM_CLOCK
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineError
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Snapshot, StopType, StopWay
from ansible_collections.fleet.power.tests.unit.fake_node import UUID
from ansible_collections.fleet.power.tests.unit.thread_support import until


class Engine:
    """Servers whose processes read, or do not until the test lets them."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.servers: dict[str, Snapshot] = {}
        self.stuck: set[str] = set()
        self.fault: Exception | None = None
        self.asked: list[str] = []
        self.written: list[tuple[str, str]] = []
        self.stops: list[tuple[str, Run]] = []

    def up(self, name: str, run: str = "1", *, stuck: bool = False, **fields: Any) -> str:
        self.servers[name] = Snapshot(**{"id": name, "name": name, "live": True, "started_at": run, "open_stdin": True, **fields})
        self.stuck.discard(name)
        if stuck:
            self.stuck.add(name)
        return name

    def inspect(self, name: str) -> Snapshot | None:
        return self.servers.get(name)

    def write_stdin(self, name: str, text: str, *, taken_within: float) -> None:
        assert 0 < taken_within <= 5
        self.asked.append(name)
        text.encode()
        if name in self.stuck:
            self.go.wait(60.0)
            raise self.fault or EngineError("not read by container 7", not_read=True)
        self.written.append((name, text))


def in_loop(story: Callable[[Commands, Engine], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        engine = Engine()
        sources = SimpleNamespace(task_definition=lambda _uuid: None, definition_for_stop=lambda _uuid: None)
        unknown = SimpleNamespace(sources=sources, settings=SimpleNamespace(stop_timeout=600))
        noted = SimpleNamespace(runs=SimpleNamespace(stop_by_console=lambda *run: engine.stops.append(run[:2])))
        node = SimpleNamespace(now=lambda: SimpleNamespace(engine=engine), for_reading=lambda: unknown, journal=noted, clock=SYSTEM_CLOCK)
        try:
            await story(Commands(cast("Any", node)), engine)
        finally:
            engine.go.set()

    asyncio.run(run())


def test_one_server_takes_one_thread_however_many_ask_and_hang_up() -> None:
    async def story(commands: Commands, engine: Engine) -> None:
        stuck, other = engine.up("stuck", stuck=True), engine.up("other")
        for _unused in range(20):
            asked = asyncio.ensure_future(commands.write(stuck, "a\n"))
            await asyncio.sleep(0.01)
            asked.cancel()
        await until(lambda: engine.asked)
        assert engine.asked == [stuck]
        assert await asyncio.wait_for(commands.write(other, "b\n"), 20.0) is None
        waiting = [asyncio.ensure_future(commands.write(stuck, "c\n")) for _unused in range(50)]
        done, _pending = await asyncio.wait(waiting, timeout=1.0)
        # The first of them wait, as many as may.
        assert [each.result() for each in done] == [TOO_MANY] * (20 + 50 - commands_file._MOST_WAITING)
        engine.go.set()
        assert {each.result() for each in (await asyncio.wait(waiting, timeout=20.0))[0]} == {TOO_MANY, NOT_READ}
        # None of those that waited was tried.
        assert engine.asked.count(stuck) == 1

    in_loop(story)


def test_the_stop_command_is_written_down_and_no_other() -> None:
    async def story(commands: Commands, engine: Engine) -> None:
        way = StopWay(StopType.COMMAND, "save and stop")
        server = engine.up(UUID, hostname=UUID, labels={LABEL_SERVER: UUID, LABEL_SPEC: "hash", LABEL_STOP: stop_way_text(way)})
        for text in ("say stop\n", "save\n", "list\nsave and stop \n", "stop\n"):
            assert await commands.write(server, text) is None
        assert engine.stops == [(server, Run(server, "1"))]

    in_loop(story)
