# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The output of a container as it is written, read from the engine's attach socket in chunks."""

from __future__ import annotations

import contextlib
from typing import Any

_CHUNK_BYTES = 65536


class Output:
    """A stream of raw output; a chunk may end anywhere. Without a TTY it carries the engine's 8-byte frame headers (see `deframe`)."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._socket = getattr(raw, "_sock", raw)

    def read(self, seconds: float) -> bytes | None:
        """What came within ``seconds``: None if nothing did, ``b""`` at the end of the stream."""
        try:
            self._socket.settimeout(seconds)
            return bytes(self._socket.recv(_CHUNK_BYTES))
        except TimeoutError:
            return None
        except OSError as error:
            # Python 3.9's socket.timeout is an OSError but not yet a TimeoutError.
            return None if "timed out" in str(error) else b""

    def close(self) -> None:
        """Give the connection back."""
        with contextlib.suppress(OSError):
            self._raw.close()


class Deframer:
    """Strips the frame headers of a multiplexed stream; bytes in, payload out, whatever the chunks."""

    def __init__(self) -> None:
        self._pending = b""

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
