# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One question to an engine at the other end of ssh: the system's own ssh client, with the user's configuration, keys and agent.

What the Docker client does for an address that begins with ssh:// too: ``docker system dial-stdio`` on the node, whose input and output
are the engine's socket. No port is opened on either side, and the library needs no SSH implementation of its own.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from ..._power.host.library_faults import refuse_negative_chunks
from ..._power.model.errors import EngineError, EngineUnreachable, SettingsInvalid
from ..._power.model.nesting import is_nested_deeper
from ..._power.model.redaction import shown_host

_LARGEST = 64 * 1024 * 1024
_DEEPEST = 100
#: Nothing that ssh or a shell would take for something else.
_HOST = re.compile(r"[A-Za-z0-9_\[][A-Za-z0-9._:\]-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]*")
_SAID_CHARACTERS = 300
_SAID_BYTES = 65_536
_END_SECONDS = 2.0


def ssh_command(address: str, arguments: Sequence[str], seconds: int) -> list[str]:
    """The command that connects to the engine at ``ssh://[USER@]HOST[:PORT]``. Raises `SettingsInvalid` for an address that is none."""
    parts = urlsplit(address)
    try:
        user, host, port = parts.username, parts.hostname, parts.port
    except ValueError:
        user, host, port = None, None, None
    good = host is not None and _HOST.fullmatch(host) and (user is None or _USER.fullmatch(user))
    if not good or host is None or parts.password is not None or parts.path.strip("/") or parts.query or parts.fragment:
        raise SettingsInvalid(f"Cannot use docker_host={shown_host(address)!r}: expected ssh://USER@HOST, perhaps with a port")
    # The first of several counts: the file's own arguments go before ours.
    ours = ["-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={seconds}"]
    login = [*(["-l", user] if user else []), *(["-p", str(port)] if port else [])]
    return ["ssh", *arguments, *ours, *login, "--", host, "docker system dial-stdio"]


def listed_over_ssh(address: str, arguments: Sequence[str], seconds: int) -> Any:
    """The engine's list of all containers, within ``seconds``. Raises `EngineUnreachable`, `EngineError`, `SettingsInvalid`."""
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

    # Read beside, or an ssh that says much would wait for a reader for ever.
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
    """The end of what a process says on its error output, until it closes it."""
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
        # The library does not mind where it was asked for no more than so many.
        raise ValueError("its answer was cut off")
    return answer.status, body


def _value(status: int, body: bytes, shown: str) -> Any:
    try:
        text = body.decode()
        value = None if is_nested_deeper(text, _DEEPEST) else json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if status != 200:
        message = value.get("message") if isinstance(value, dict) else None
        raise EngineError(
            f"Cannot list the containers: the engine at {shown} answers {status}, {_line(str(message or 'without a reason'))}"
        )
    return value


def _why(said: bytes, error: BaseException) -> str:
    """Return the reason that ssh or the node's shell gives: its last line, since a greeting may stand before it."""
    lines = [line for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    if not lines:
        return _line(str(error) or error.__class__.__name__)
    line = _line(lines[-1])
    return f"{line}; docker's command line is needed there" if "not found" in line and "docker" in line else line


def _line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)[:_SAID_CHARACTERS].strip().rstrip(".")


def _end(ssh: subprocess.Popen[bytes]) -> None:
    ssh.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        ssh.wait(_END_SECONDS)
