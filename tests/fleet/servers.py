# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers for tests on the lab: their definitions, and their files on the node."""

from __future__ import annotations

import contextlib
import fcntl
import json
import uuid as uuid_module
from collections.abc import Iterator, Mapping
from typing import Any

from .nodes import Node

IMAGE = "~fleet-power/testserver:latest"


def server(
    name: str,
    *,
    priority: int | None = None,
    suspended: bool = False,
    labels: Mapping[str, str] | None = None,
    egg: str | None = None,
    **environment: object,
) -> dict[str, Any]:
    """Return a definition with a fresh UUID. The environment sets the test server's behaviour (tests/lab/README.md)."""
    settings: dict[str, Any] = {
        "uuid": str(uuid_module.uuid4()),
        "meta": {"name": name},
        "suspended": suspended,
        "container": {"image": IMAGE},
        "environment": dict(environment),
        "allocations": {},
    }
    if priority is not None:
        settings["meta"]["priority"] = priority
    if labels is not None:
        settings["labels"] = dict(labels)
    if egg is not None:
        settings["egg"] = {"id": egg}
    return {
        "settings": settings,
        "process_configuration": {"startup": {"done": ["ready"]}, "stop": {"type": "command", "value": "stop"}},
    }


def uuid_of(definition: Mapping[str, Any]) -> str:
    return str(definition["settings"]["uuid"])


def holder_of(node: Node, definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of a server's lock holder; empty without a holder, or if the node is down."""
    with contextlib.suppress(OSError, ValueError, AssertionError):
        record: dict[str, Any] = json.loads(node.read(f"run/fleet-power/{uuid_of(definition)}.lock"))
        return {} if record.get("released") else record
    return {}


def phase_of(node: Node, definition: Mapping[str, Any]) -> str:
    """Return the phase of a server's lock holder, such as ``stop``; empty without a holder, or if the node is down."""
    return str(holder_of(node, definition).get("phase", ""))


@contextlib.contextmanager
def held(node: Node, definition: Mapping[str, Any]) -> Iterator[None]:
    """Hold a server's lock without writing a record."""
    with (node.root / f"run/fleet-power/{uuid_of(definition)}.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
