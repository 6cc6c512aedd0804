# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Players who are told what is to come, and the connection, or the controller, that is lost on the way."""

from __future__ import annotations

import time

import pytest

from .followed import cut
from .lab import Going, Lease, adhoc_begun, wait_until
from .played import Network

pytestmark = pytest.mark.long

CALLED_OFF = "Server restart called off."
#: After so many seconds without anybody who follows, what has not begun is given up.
GRACE_SECONDS = 180


def begun(network: Network, warn: list[int]) -> Going:
    """Begin to restart a server that is played on, ad hoc; return when players were told for the first time."""
    going = adhoc_begun([network.node], "server_power", {"action": "restart", "server": "played", "warn": warn})
    wait_until(lambda: network.said("played"), "players are told", 60)
    return going


def test_a_connection_that_is_lost_for_a_moment_changes_nothing(lease: Lease) -> None:
    network = Network(lease(1)[0], played=2)
    going = begun(network, [25, 15, 2])
    with cut(network.node, 5):
        pass
    ran = going.finish()
    assert ran.rc == 0, ran.output
    assert network.said("played") == [f"Server restart in {seconds} seconds." for seconds in (25, 15, 2)]
    assert network.restarted() == ["played"]


def test_at_its_end_it_waits_for_who_asked_and_is_called_off_when_nobody_comes_back(lease: Lease) -> None:
    network = Network(lease(1)[0], played=2)
    going = begun(network, [40, 20])
    lost = time.monotonic()
    with cut(network.node, 120):
        # Nobody waits for that long: the task has ended by then.
        assert going.finish().rc != 0
    assert network.said("played") == [f"Server restart in {seconds} seconds." for seconds in (40, 20)]
    wait_until(lambda: network.said("played")[-1] == CALLED_OFF, "it is called off", GRACE_SECONDS + 20 - (time.monotonic() - lost))
    assert network.restarted() == []


def test_a_controller_that_is_killed_has_it_called_off_within_a_quarter_of_a_minute(lease: Lease) -> None:
    network = Network(lease(1)[0], played=2)
    going = begun(network, [600])
    time.sleep(3)
    going.kill()
    wait_until(lambda: network.said("played")[-1] == CALLED_OFF, "it is called off", 20)
    assert network.restarted() == []
