# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sender as a unit runs it, and receivers of events with the behaviour that a test sets."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.node import build_journal
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import load_settings
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event, EventType
from ansible_collections.fleet.power.plugins.module_utils._power.host.supervisor_record import EVENTS_LOCK, read_record
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SYSTEM_CLOCK, timestamp
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server

from .panel_server import Recorder

PACKAGE = "ansible_collections.fleet.power.plugins.module_utils"


class EventReceiver(Recorder):
    """A receiver of events. It has taken each event that it answered with success."""

    @property
    def got(self) -> list[dict[str, Any]]:
        """All complete requests, in order, taken or not. A killed sender leaves incomplete ones."""
        return [json.loads(asked.body) for asked in list(self.asked) if len(asked.body) == int(asked.headers["content-length"])]

    @property
    def numbers(self) -> list[int]:
        return [int(event["sequence"]) for event in self.got if "sequence" in event]


class SendingNode:
    """A node with settings, an outbox and the program that sends, without an engine."""

    def __init__(self, root: Path, **receivers: dict[str, Any]) -> None:
        self.root = root
        self.config = root / "config.json"
        self.errors = root / "events.err"
        self.child: subprocess.Popen[str] | None = None
        self.say(**receivers)

    @classmethod
    def beside(cls, root: Path, config: Path) -> SendingNode:
        node = cls.__new__(cls)
        node.root, node.config, node.errors, node.child = root, config, root / "events.err", None
        return node

    def say(self, **receivers: dict[str, Any]) -> None:
        settings = {
            "system": {"state_directory": str(self.root / "state"), "lock_directory": str(self.root / "locks")},
            "events": {"node": "node-1", "receivers": [{"name": name, **keys} for name, keys in receivers.items()]},
        }
        self.config.write_text(json.dumps(settings))

    def journal(self) -> Journal:
        return build_journal(load_settings(str(self.config)), SYSTEM_CLOCK)

    def write(self, *servers: Server | None, **data: object) -> None:
        with closing(self.journal()) as journal:
            for server in servers:
                assert journal.events.write(Event(EventType.SERVER_CRASHED, timestamp(SYSTEM_CLOCK.now()), data, server))

    def deliveries(self) -> dict[str, dict[str, Any]]:
        with closing(self.journal()) as journal:
            return {each["receiver"]: each for each in journal.deliveries.facts() or ()}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._command, *arguments], capture_output=True, text=True, timeout=30, check=False, cwd="/")

    @property
    def _command(self) -> list[str]:
        return [sys.executable, "-m", f"{PACKAGE}.events", "--config", str(self.config)]

    def begin(self, *, ready: bool = True) -> SendingNode:
        with self.errors.open("a") as errors:
            self.child = subprocess.Popen(self._command, cwd="/", stdout=subprocess.DEVNULL, stderr=errors, text=True)
        if ready:
            wanted = {each["name"] for each in json.loads(self.config.read_text())["events"]["receivers"]}
            await_true(lambda: self.is_running and wanted <= set(self.deliveries()), "the sender has begun")
        return self

    @property
    def is_running(self) -> bool:
        record = read_record(load_settings(str(self.config)).record_directories, EVENTS_LOCK)
        assert self.child is not None and self.child.poll() is None, self.errors.read_text()
        return record is not None and record.pid == self.child.pid

    def kill(self) -> None:
        assert self.child is not None
        self.child.kill()
        self.child.wait()

    def end(self) -> int:
        """End it as a service manager does; return its exit code."""
        assert self.child is not None
        self.child.terminate()
        return self.child.wait(20)

    def __enter__(self) -> SendingNode:
        return self.begin()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.child is not None and self.child.poll() is None:
            self.child.kill()
            self.child.wait()


def await_true(predicate: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
