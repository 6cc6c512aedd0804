# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The containers of a node, asked of its engine once: state and labels, nothing that a container or a lock would have to be asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ..._power.container.container_spec import LABEL_NAME
from ..._power.engine.connection import Connection, load_sdk
from ..._power.engine.engine_answers import claimed_server, server_of
from ..._power.model.errors import EngineError, EngineUnreachable
from ..._power.model.schema import one_line
from ..._power.model.server import PowerState
from .entry import ServerEntry, SourceKind, SourceReading, labels_or_none, text_or_none
from .tunnel import listed_over_ssh
from .wanted import NodeWanted

_Value = TypeVar("_Value")
#: What holds a process, and what holds none, of Docker and of Podman; of any other state nobody can tell.
_LIVE = frozenset(("running", "paused", "restarting", "stopping"))
_DOWN = frozenset(("created", "exited", "dead", "removing", "configured", "initialized", "stopped"))
#: Beyond the time limit of one exchange: for a name that is looked up and a client that is made.
_SLACK_SECONDS = 2.0
_NO_ENGINE = "is it a Docker Engine that answers there"


def read_engine(node: NodeWanted, timeout: int) -> SourceReading:
    """The servers that have a container on a node. Raises `EngineUnreachable`, `EngineError`, `MissingLibrary`."""
    connection = node.connection(timeout)
    if connection.host.startswith("ssh://"):
        rows: Any = listed_over_ssh(connection.host, node.ssh_args, timeout)
    else:
        rows = _within(timeout + _SLACK_SECONDS, lambda: _listed(connection), connection)
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise EngineError(f"Cannot list the containers: the answer is no list; {_NO_ENGINE}")
    return SourceReading(SourceKind.ENGINE, node.name, tuple(_entries(node.name, rows)), doubtful=_doubtful(rows))


def _listed(connection: Connection) -> Any:
    sdk = load_sdk()
    client = connection.client(sdk, connection.api_version)
    try:
        return client.containers(all=True)
    except sdk.api_error as answer:
        raise EngineError(
            f"Cannot list the containers: {one_line(str(answer.explanation or answer))}", status=answer.status_code
        ) from answer
    except sdk.transport_errors as error:
        raise connection.unreachable("Cannot list the containers", error) from error
    except (KeyError, TypeError, ValueError) as error:
        # What the library makes of an error that is not worded as an engine words it.
        raise EngineError(f"Cannot list the containers: the answer cannot be understood; {_NO_ENGINE}") from error
    finally:
        client.close()


def _entries(node: str, rows: Sequence[Mapping[str, Any]]) -> list[ServerEntry]:
    found: dict[str, ServerEntry] = {}
    for row in rows:
        uuid = server_of(row)
        if uuid is None:
            continue
        live = row.get("State") in _LIVE
        # One that is being replaced stands beside its successor: what runs is the server.
        if uuid not in found or live:
            found[uuid] = ServerEntry(
                uuid=uuid,
                node=node,
                name=text_or_none((row.get("Labels") or {}).get(LABEL_NAME)),
                state=_state(row.get("State")),
                labels=labels_or_none(row.get("Labels") or {}),
                image=text_or_none(row.get("Image")),
            )
    return list(found.values())


def _doubtful(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Servers whose live container somebody may have renamed: what its labels say it may have from its image."""
    claimed = (claimed_server(row) for row in rows if row.get("State") in _LIVE and server_of(row) is None)
    return tuple(dict.fromkeys(uuid for uuid in claimed if uuid is not None))


def _state(told: object) -> str | None:
    if told in _LIVE:
        return PowerState.RUNNING.value
    return PowerState.OFFLINE.value if told in _DOWN else None


def _within(seconds: float, work: Callable[[], _Value], connection: Connection) -> _Value:
    """Return or raise what ``work`` does, in ``seconds``; the library's time limit bounds a single read only."""
    found: list[_Value] = []
    faults: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:
            # It belongs to the thread that waits.
            faults.append(error)

    thread = threading.Thread(target=run, name="engine", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise EngineUnreachable("Cannot list the containers: no thread can be started for it; this machine is at a limit") from error
    thread.join(seconds)
    if faults:
        raise faults[0]
    if not found:
        raise _silent(connection)
    return found[0]


def _silent(connection: Connection) -> EngineUnreachable:
    return connection.unreachable("Cannot list the containers", TimeoutError())
