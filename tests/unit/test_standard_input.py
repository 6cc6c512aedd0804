# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text on its way into a socket that is read, that is not, and whose other end is gone."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine.output import write_once

MORE_THAN_FITS = b"x" * 8_000_000


@pytest.fixture(name="pair")
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_what_is_read_to_its_end_is_taken(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    read: list[bytes] = []

    def engine() -> None:
        while chunk := theirs.recv(65536):
            read.append(chunk)
        theirs.close()

    thread = threading.Thread(target=engine)
    thread.start()
    assert write_once(ours, MORE_THAN_FITS, 20.0, until_taken=True)
    thread.join()
    assert b"".join(read) == MORE_THAN_FITS


@pytest.mark.parametrize("text", [b"say\n", MORE_THAN_FITS], ids=["fits", "more than fits"])
def test_what_nobody_reads_is_not_taken_within_its_time_whether_or_not_it_fits(
    pair: tuple[socket.socket, socket.socket], text: bytes
) -> None:
    began = time.monotonic()
    assert not write_once(pair[0], text, 0.3, until_taken=True)
    assert 0.2 < time.monotonic() - began < 5.0
    assert pair[0].fileno() == -1


def test_who_does_not_ask_waits_for_nobody_but_the_socket(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _theirs = pair
    assert write_once(ours.dup(), b"stop\n", 60.0, until_taken=False)
    with pytest.raises(socket.timeout):
        write_once(ours, MORE_THAN_FITS, 0.2, until_taken=False)
    assert ours.fileno() == -1


def test_where_nobody_is_left_nothing_is_waited_for(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ours.sendall(b"before")
    theirs.shutdown(socket.SHUT_WR)
    assert write_once(ours, b"say\n", 60.0, until_taken=True)
