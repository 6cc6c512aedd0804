# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a server's lock: how long, who holds it, and what happens where it cannot be had at all."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.tests.unit.lock_support import fill, small_disk

from .engine_proxy import EngineProxy
from .lab import Lab, wait_until
from .phases import by_nobody, kept_in, meanwhile


def test_a_wait_of_zero_tries_once_and_names_the_holder(lab: Lab, proxy: EngineProxy) -> None:
    with kept_in(lab, proxy, "stop", "stop", reason="maintenance") as kept:
        result = lab.power("restart", kept.uuid, wait_seconds=0)
        assert result.waited_seconds < 1
        assert (result.outcome.value, result.code, result.changed, result.state.value) == ("refused", "lock_timeout", False, "stopping")
        holder = result.holder
        assert holder["pid"] == kept.actor.pid
        assert {name: holder[name] for name in ("action", "phase", "origin", "reason")} == {
            "action": "stop",
            "phase": "stop",
            "origin": "actor",
            "reason": "maintenance",
        }
        assert holder["since"] < holder["phase_deadline"]
        assert f"stop by actor (phase stop until {holder['phase_deadline']}, since {holder['since']}, pid {kept.actor.pid})" in result.msg
        assert lab.is_up(kept.uuid)


def test_a_wait_of_two_seconds_is_two_seconds_long(lab: Lab, proxy: EngineProxy) -> None:
    with kept_in(lab, proxy, "start", "preboot") as kept:
        began = time.monotonic()
        result = lab.power("start", kept.uuid, wait_seconds=2)
        assert 2 <= time.monotonic() - began < 10
        assert (result.outcome.value, result.code) == ("refused", "lock_timeout")
        assert 2 <= result.waited_seconds < 3.5
        assert "start by actor (phase preboot" in result.msg
        assert "after 2 s" in result.msg


def test_a_waiter_is_served_within_moments_of_the_release(lab: Lab) -> None:
    uuid = lab.up(MARK=1, STOP_SECONDS=1)
    node = lab.node()
    request = lab.request("stop", uuid)
    holding = node.acquire(request, uuid, 0.0, lambda: None)
    with meanwhile(lambda: lab.power("stop", uuid)) as stopping:
        time.sleep(0.3)
        released = time.monotonic()
        holding.release()
        wait_until(lambda: node.locks.holder(uuid) is not None, "it was handed over")
        assert time.monotonic() - released < 1
        assert stopping.result().outcome.value == "done"


@pytest.fixture(params=["read-only disk", "full disk", "a file in its place"])
def unusable(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Path]:
    """A lock directory in which no lock file can be made."""
    directory = lab.root / "no-locks"
    if request.param == "a file in its place":
        directory.write_text("")
        yield directory
        return
    with small_disk(directory):
        if request.param == "full disk":
            fill(directory)
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True)
            with pytest.raises(OSError, match="Read-only"):
                (directory / "probe").touch()
        yield directory


@pytest.mark.samples("read-only disk-start", "full disk-restart", "a file in its place-stop")
@pytest.mark.parametrize("action", ["start", "stop", "restart"])
def test_without_a_lock_nothing_is_done(lab: Lab, unusable: Path, action: str) -> None:
    uuid = lab.server()
    if action != "start":
        lab.power("start", uuid, wait_for="running")
    lab.write_settings(system={"lock_directory": str(unusable)})
    before = lab.container(uuid)
    result = lab.power(action, uuid)
    assert (result.outcome.value, result.code, result.changed) == ("refused", "lock_unavailable", False)
    assert str(unusable) in result.msg
    after = lab.container(uuid)
    assert (before and (before["Id"], before["State"])) == (after and (after["Id"], after["State"]))


def test_who_may_not_use_the_lock_directory_is_told_whom_to_act_as(lab: Lab, proxy: EngineProxy, tmp_path: Path) -> None:
    uuid = lab.up(MARK=1)
    # The engine is open to everybody here, and what was killed may be read; the locks are not.
    os.chmod(tmp_path / "engine.sock", 0o666)
    (tmp_path / "state").chmod(0o755)
    result = by_nobody(lab.at(proxy.host), "stop", uuid)
    assert (result["outcome"], result["code"], result["changed"]) == ("refused", "lock_unavailable", False)
    assert "as root or as a member of the group" in result["msg"]
    assert lab.is_up(uuid)
