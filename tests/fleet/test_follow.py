# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task says what it does while it does it, and its result is what it would be without."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from .followed import UNFOLLOWED, Definition, Watch, lasting, only_result, play, power, progress_in
from .lab import Going, Node, adhoc_begun, bring_up, inventory, playbook_begun, server, uuid_of

Begin = Callable[..., Going]


def restart_adhoc(
    where: Sequence[Node], servers: Sequence[Definition], *, surroundings: dict[str, str] | None = None, **variables: object
) -> Going:
    options = {"action": "restart", "server": [uuid_of(each) for each in servers], "wait_for": "running"}
    return adhoc_begun(inventory(where, **variables), "server_power", options, surroundings=surroundings)


def restart_in_a_play(
    where: Sequence[Node], servers: Sequence[Definition], *, surroundings: dict[str, str] | None = None, **variables: object
) -> Going:
    return playbook_begun(play(power("restart", servers, wait_for="running")), inventory(where, **variables), surroundings=surroundings)


@pytest.mark.long
@pytest.mark.parametrize("begin", [restart_adhoc, restart_in_a_play], ids=["adhoc", "play"])
@pytest.mark.parametrize(
    "variables",
    [
        {"ansible_pipelining": True},
        {"ansible_pipelining": False, "ansible_become": True, "ansible_become_method": "sudo"},
    ],
    ids=["pipelined", "copied_sudo"],
)
def test_lines_come_while_the_task_runs_and_its_result_is_the_one_without(node: Node, begin: Begin, variables: dict[str, object]) -> None:
    servers = [server("quick"), server("slow", STOP_SECONDS=4), server("slower", STOP_SECONDS=6)]
    bring_up({node: servers})
    watch = Watch(begin([node], servers, **variables))
    ran = watch.finish()
    assert ran.rc == 0, ran.output
    ended = watch.ends("restart done")
    assert sorted(ended) == ["quick", "slow", "slower"]
    # Each as it happens, in front of the end by what the slowest takes.
    assert ended["slow"] - ended["quick"] > 2
    assert ended["slower"] - ended["slow"] > 1
    assert ran.seconds - ended["quick"] > 3
    plain = begin([node], servers, surroundings=UNFOLLOWED, **variables).finish()
    assert (plain.rc, progress_in(plain.output)) == (0, [])
    assert lasting(only_result(ran)) == lasting(only_result(plain))
