# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The output of a container as it is written, read from the engine's attach socket in chunks."""

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
    """A stream of raw output; a chunk may end anywhere. Without a TTY it carries the engine's 8-byte frame headers (see `Deframer`)."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._socket = getattr(raw, "_sock", raw)
        self._ahead = self._read_ahead()
        #: Whether the stream broke: what comes after that is not known.
        self.is_broken = False

    def read(self, seconds: float) -> bytes | None:
        """Return what came within ``seconds``: None if nothing did, ``b""`` at the end of the stream, or where it ``is_broken``."""
        if self._ahead:
            ahead, self._ahead = self._ahead, b""
            return ahead
        try:
            # With none at all it would be no wait, whose end is an error.
            self._socket.settimeout(max(seconds, _LEAST_SECONDS))
            return bytes(self._socket.recv(_CHUNK_BYTES))
        except socket.timeout:
            return None
        except OSError:
            self.is_broken = True
            return b""

    def _read_ahead(self) -> bytes:
        """Return what came along with the head of the answer: that was read through a buffer, and the SDK hands out the socket below."""
        response = getattr(self._raw, "_response", None)
        reader: Any = None if response is None else response.raw._fp.fp
        if not isinstance(reader, io.BufferedReader):
            # By SSH: paramiko's own.
            return bytes(getattr(reader, "_rbuffer", b""))
        with contextlib.suppress(OSError, ValueError):
            # An empty buffer looks at the socket, and is not to wait there.
            self._socket.settimeout(0)
            return reader.peek()
        return b""

    def close(self) -> None:
        """Give the connection back."""
        release(self._raw)


def release(raw: Any) -> None:
    """Give back the connection of an attach: first the answer it came with, which would find its socket closed at its own end."""
    response: Any = getattr(raw, "_response", None)
    for each in (raw,) if response is None else (response, raw):
        with contextlib.suppress(OSError, ValueError):
            each.close()


class Deframer:
    """Strips the frame headers of a multiplexed stream; bytes in, payload out, whatever the chunks."""

    def __init__(self) -> None:
        self._pending = b""

    @property
    def is_between_frames(self) -> bool:
        """True if no frame has begun that is not whole yet."""
        return not self._pending

    def feed(self, chunk: bytes) -> bytes:
        """The payload completed by this chunk."""
        data, payload = self._pending + chunk, b""
        while len(data) >= 8:
            size = int.from_bytes(data[4:8], "big")
            if len(data) < 8 + size:
                break
            payload += data[8 : 8 + size]
            data = data[8 + size :]
        self._pending = data
        return payload


def write_once(raw: Any, data: bytes, seconds: float, *, until_taken: bool) -> bool:
    """Write, and give the connection back; whether all of it was taken.

    Raises `socket.timeout` if the engine does not take it within ``seconds``.
    With ``until_taken`` it is the pipe of the process that has to take it, in the same time: False if that is full, since the process does
    not read. The engine itself takes what fits into its socket, keeps it, and says nothing.
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
    """Tell if the engine hangs up in time after the last byte: it does so once it has passed on all there was, or nobody is left."""
    try:
        sock.shutdown(socket.SHUT_WR)
        while (left := deadline.left) > 0:
            sock.settimeout(left)
            if not sock.recv(4096):
                return True
    except socket.timeout:
        return False
    except OSError:
        # It has hung up already.
        return True
    return False
