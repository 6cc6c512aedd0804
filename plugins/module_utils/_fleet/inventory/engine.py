# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The containers of a node in one request to its engine: state and labels, without a look at a single container or lock."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ..._power.container.container_labels import LABEL_NAME
from ..._power.engine.connection import Connection, load_sdk
from ..._power.engine.engine_answers import claimed_server, server_of
from ..._power.host.concurrency import map_concurrently
from ..._power.host.library_faults import refuse_negative_chunks
from ..._power.model.errors import EngineError, EngineUnreachable, SettingsInvalid
from ..._power.model.redaction import shown_host
from ..._power.model.schema import blanked, one_line, parsed_json
from ..._power.model.server import PowerState
from .entry import ServerEntry, SourceKind, SourceReading, labels_or_none, text_or_none
from .options import NodeWanted

_LARGEST = 64 * 1024 * 1024
_DEEPEST = 100
#: ssh and a shell take these for nothing else.
_HOST = re.compile(r"[A-Za-z0-9_\[][A-Za-z0-9._:\]-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]*")
_SAID_CHARACTERS = 300
_SAID_BYTES = 65_536
_END_SECONDS = 2.0
#: States with and without a process, of Docker and of Podman. Any other state is unknown.
_LIVE = frozenset(("running", "paused", "restarting", "stopping"))
_DOWN = frozenset(("created", "exited", "dead", "removing", "configured", "initialized", "stopped"))
#: Added to the timeout of one exchange, for name resolution and the client.
_SLACK_SECONDS = 2.0
_NO_ENGINE = "check that a Docker Engine answers there"


def ssh_command(address: str, arguments: Sequence[str], seconds: int) -> list[str]:
    """Return the command that connects to an engine at ``ssh://[USER@]HOST[:PORT]``. Raises `SettingsInvalid` for another address."""
    parts = urlsplit(address)
    try:
        user, host, port = parts.username, parts.hostname, parts.port
    except ValueError:
        user, host, port = None, None, None
    good = host is not None and _HOST.fullmatch(host) and (user is None or _USER.fullmatch(user))
    if not good or host is None or parts.password is not None or parts.path.strip("/") or parts.query or parts.fragment:
        raise SettingsInvalid(f"Cannot use docker_host={shown_host(address)!r}: expected ssh://USER@HOST, perhaps with a port")
    # ssh uses the first of several values: the file's own arguments go before ours.
    ours = ["-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={seconds}"]
    login = [*(["-l", user] if user else []), *(["-p", str(port)] if port else [])]
    return ["ssh", *arguments, *ours, *login, "--", host, "docker system dial-stdio"]


def listed_over_ssh(address: str, arguments: Sequence[str], seconds: int) -> Any:
    """Return the engine's list of all containers, within ``seconds``. Raises `EngineUnreachable`, `EngineError`, `SettingsInvalid`."""
    command = ssh_command(address, arguments, seconds)
    ours, theirs = socket.socketpair()
    with ours:
        try:
            # pylint: disable-next=ansible-bad-function
            ssh = subprocess.Popen(command, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.PIPE, start_new_session=True)
        except OSError as error:
            raise EngineUnreachable(f"Cannot reach the engine at {shown_host(address)}: ssh cannot be started: {error.strerror}") from error
        finally:
            theirs.close()
        return _asked(ssh, ours, shown_host(address), seconds)


def _asked(ssh: subprocess.Popen[bytes], ours: socket.socket, shown: str, seconds: int) -> Any:
    late = threading.Event()
    said: list[bytes] = []

    def cut() -> None:
        late.set()
        with contextlib.suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)
        ssh.kill()

    # A thread reads the error output; otherwise ssh would block on a full pipe.
    listener = threading.Thread(target=lambda: said.append(_last_words(ssh)), name="ssh", daemon=True)
    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    try:
        listener.start()
        timer.start()
    except RuntimeError as error:
        _end(ssh)
        raise EngineUnreachable("Cannot list the containers: no thread can be started for it; this machine is at a limit") from error
    try:
        status, body = _exchange(ours)
        if late.is_set():
            raise OSError("its answer was cut off")
    except (OSError, http.client.HTTPException, ValueError) as error:
        _end(ssh)
        listener.join(_END_SECONDS)
        why = f"no answer within {seconds} s" if late.is_set() else _why(b"".join(said), error)
        raise EngineUnreachable(f"Cannot list the containers: the engine at {shown} cannot be reached: {why}") from error
    finally:
        timer.cancel()
        _end(ssh)
        listener.join(_END_SECONDS)
        if ssh.stderr is not None:
            ssh.stderr.close()
    return _value(status, body, shown)


def _last_words(ssh: subprocess.Popen[bytes]) -> bytes:
    said = b""
    while ssh.stderr is not None and (piece := os.read(ssh.stderr.fileno(), _SAID_BYTES)):
        said = (said + piece)[-_SAID_BYTES:]
    return said


def _exchange(sock: socket.socket) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("docker")
    connection.sock = sock
    connection.request("GET", "/containers/json?all=1", headers={"Connection": "close"})
    answer = connection.getresponse()
    refuse_negative_chunks(answer)
    body = answer.read(_LARGEST + 1)
    if len(body) > _LARGEST:
        raise ValueError(f"its answer is larger than {_LARGEST} bytes")
    if answer.length:
        # The library ignores a short answer after a read with a limit.
        raise ValueError("its answer was cut off")
    return answer.status, body


def _value(status: int, body: bytes, shown: str) -> Any:
    value = parsed_json(body, _DEEPEST)
    if status != 200:
        message = value.get("message") if isinstance(value, dict) else None
        raise EngineError(
            f"Cannot list the containers: the engine at {shown} answers {status}, {_line(str(message or 'without a reason'))}"
        )
    return value


def _why(said: bytes, error: BaseException) -> str:
    """Return the last line of ssh or the node's shell: a greeting may stand before it."""
    lines = [line for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    if not lines:
        return _line(str(error) or error.__class__.__name__)
    line = _line(lines[-1])
    return f"{line}; docker's command line is needed there" if "not found" in line and "docker" in line else line


def _line(text: str) -> str:
    return blanked(text)[:_SAID_CHARACTERS].strip().rstrip(".")


def _end(ssh: subprocess.Popen[bytes]) -> None:
    ssh.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        ssh.wait(_END_SECONDS)


def read_engine(node: NodeWanted, timeout: int) -> SourceReading:
    """Return the servers that have a container on a node. Raises `EngineUnreachable`, `EngineError`, `MissingLibrary`."""
    connection = node.connection(timeout)
    if connection.host.startswith("ssh://"):
        rows: Any = listed_over_ssh(connection.host, node.ssh_args, timeout)
    else:
        # The library's timeout limits a single read only. An engine may answer null.
        found = map_concurrently(lambda each: (_listed(each),), [connection], timeout + _SLACK_SECONDS)[0]
        if found is None:
            raise connection.unreachable("Cannot list the containers", TimeoutError())
        rows = found[0]
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise EngineError(f"Cannot list the containers: the answer is not a list; {_NO_ENGINE}")
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
        # The library raises these for an error that has not an engine's form.
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
        # During a replacement two containers exist: the live one is the server.
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
    """Return servers whose live container may be renamed: its server label may also come from its image."""
    claimed = (claimed_server(row) for row in rows if row.get("State") in _LIVE and server_of(row) is None)
    return tuple(dict.fromkeys(uuid for uuid in claimed if uuid is not None))


def _state(state: object) -> str | None:
    if state in _LIVE:
        return PowerState.RUNNING.value
    return PowerState.OFFLINE.value if state in _DOWN else None
