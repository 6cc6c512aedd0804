# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Countdowns after the loss of the connection or of the controller."""

from __future__ import annotations

import time

import pytest

from .jobs import cut
from .lab import Going, Lease, adhoc_begun, wait_until
from .played import Network

pytestmark = pytest.mark.long

CALLED_OFF = "Server restart called off."
#: Seconds without a poll after which the job ends a countdown.
GRACE_SECONDS = 180


def begun(network: Network, warn: list[int]) -> Going:
    """Begin a restart with a countdown ad hoc; return after the first warning."""
    going = adhoc_begun([network.node], "server_power", {"action": "restart", "server": "played", "warn": warn})
    wait_until(lambda: network.said("played"), "players are warned", 60)
    return going


def test_a_countdown_continues_after_a_short_loss_of_the_connection(lease: Lease) -> None:
    network = Network(lease(1)[0], played=2)
    going = begun(network, [25, 15, 2])
    with cut(network.node, 5):
        pass
    ran = going.finish()
    assert ran.rc == 0, ran.output
    assert network.said("played") == [f"Server restart in {seconds} seconds." for seconds in (25, 15, 2)]
    assert network.restarted() == ["played"]


def test_a_countdown_waits_at_its_end_for_a_lost_caller_and_then_is_called_off(lease: Lease) -> None:
    network = Network(lease(1)[0], played=2)
    going = begun(network, [40, 20])
    lost = time.monotonic()
    with cut(network.node, 120):
        # The task ends before the connection is back.
        assert going.finish().rc != 0
    assert network.said("played") == [f"Server restart in {seconds} seconds." for seconds in (40, 20)]
    wait_until(lambda: network.said("played")[-1] == CALLED_OFF, "called off", GRACE_SECONDS + 20 - (time.monotonic() - lost))
    assert network.restarted() == []


def test_a_kill_of_the_controller_calls_a_countdown_off_within_20_seconds(lease: Lease) -> None:
    network = Network(lease(1)[0], played=2)
    going = begun(network, [600])
    time.sleep(3)
    going.kill()
    wait_until(lambda: network.said("played")[-1] == CALLED_OFF, "called off", 20)
    assert network.restarted() == []
