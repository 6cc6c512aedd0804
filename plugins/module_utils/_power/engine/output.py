# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The live output of a container, read from the engine's attach socket in chunks."""

from __future__ import annotations

import contextlib
import io
import socket
from typing import Any

from ..model.cancellation import Deadline
from ..model.clock import SYSTEM_CLOCK

_CHUNK_BYTES = 65536
_LEAST_SECONDS = 0.001


class Output:
    """A stream of raw output; a chunk may end anywhere. Without a TTY it has the engine's 8-byte frame headers (see `Deframer`)."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._socket = getattr(raw, "_sock", raw)
        self._ahead = self._read_ahead()
        #: Whether the stream broke, so later output is unknown.
        self.is_broken = False

    def read(self, seconds: float) -> bytes | None:
        """Return new output within ``seconds``: None if there is none, ``b""`` at the end or if it ``is_broken``."""
        if self._ahead:
            ahead, self._ahead = self._ahead, b""
            return ahead
        try:
            # A timeout of 0 would mean a non-blocking read, which raises.
            self._socket.settimeout(max(seconds, _LEAST_SECONDS))
            return bytes(self._socket.recv(_CHUNK_BYTES))
        except socket.timeout:
            return None
        except OSError:
            self.is_broken = True
            return b""

    def _read_ahead(self) -> bytes:
        """Return output that arrived with the answer's head: the SDK returns the socket below the buffer that read it."""
        response = getattr(self._raw, "_response", None)
        reader: Any = None if response is None else response.raw._fp.fp
        if not isinstance(reader, io.BufferedReader):
            # Over SSH, with paramiko's buffer.
            return bytes(getattr(reader, "_rbuffer", b""))
        with contextlib.suppress(OSError, ValueError):
            # With an empty buffer, peek reads the socket, and must not wait.
            self._socket.settimeout(0)
            return reader.peek()
        return b""

    def close(self) -> None:
        release(self._raw)


def release(raw: Any) -> None:
    """Release the connection of an attach. The answer closes first: it must not find its socket closed."""
    response: Any = getattr(raw, "_response", None)
    for each in (raw,) if response is None else (response, raw):
        with contextlib.suppress(OSError, ValueError):
            each.close()


class Deframer:
    """Strips the frame headers of a multiplexed stream, whatever the chunks."""

    def __init__(self) -> None:
        #: The bytes of an incomplete frame.
        self.pending = b""

    def feed(self, chunk: bytes) -> bytes:
        data, payload = self.pending + chunk, b""
        while len(data) >= 8:
            size = int.from_bytes(data[4:8], "big")
            if len(data) < 8 + size:
                break
            payload += data[8 : 8 + size]
            data = data[8 + size :]
        self.pending = data
        return payload


def write_once(raw: Any, data: bytes, seconds: float, *, until_taken: bool) -> bool:
    """Write, and release the connection; return whether all was taken. Raises `socket.timeout` if the engine takes too long.

    With ``until_taken`` the process's pipe must take it in time; False if it is full. The engine silently buffers what fits its socket.
    """
    deadline = Deadline.after(SYSTEM_CLOCK, seconds)
    sock = getattr(raw, "_sock", raw)
    try:
        sock.settimeout(seconds)
        sock.sendall(data)
        return not until_taken or _is_taken(sock, deadline)
    except socket.timeout:
        if until_taken:
            return False
        raise
    finally:
        release(raw)


def _is_taken(sock: Any, deadline: Deadline) -> bool:
    """Tell if the engine hangs up in time: it does so after it has passed on all bytes, or if the process is gone."""
    try:
        sock.shutdown(socket.SHUT_WR)
        while (left := deadline.left) > 0:
            sock.settimeout(left)
            if not sock.recv(4096):
                return True
    except socket.timeout:
        return False
    except OSError:
        # The engine has hung up already.
        return True
    return False
