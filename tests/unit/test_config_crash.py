# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A boot that is killed while it writes a configuration file: what is left is a whole file, and the next boot goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode

FILE, OLD, NEW = "server.properties", b"# mine\nport=1\nmotd=kept\n", b"# mine\nport=25601\nmotd=kept\n"


def die_at(call: str, volume: Path, *, after: bool = False) -> None:
    """SIGKILL this process where it makes ``call`` of `os` the first time that a file is being written in ``volume``."""
    original = getattr(os, call)

    def last(*arguments: Any, **named: Any) -> Any:
        if len(os.listdir(volume)) > 1:
            if after:
                original(*arguments, **named)
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    setattr(os, call, last)


def boot_killed_at(fake: FakeNode, call: str, *, after: bool = False) -> None:
    """Start the server in a process of its own, which is killed there."""
    child = os.fork()
    if child == 0:
        try:
            # A journal of its own: no connection to a database survives a fork.
            fake.node = fake.build()
            die_at(call, fake.root / "volumes" / UUID, after=after)
            fake.perform("start")
        finally:
            os._exit(1)
    _pid, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, "nothing killed the boot"


@pytest.fixture(name="volume")
def volume_of_a_server_that_is_down(fake: FakeNode) -> Path:
    fake.down()
    volume = fake.root / "volumes" / UUID
    (volume / FILE).write_bytes(OLD)
    fake.define(process={"configs": [{"file": FILE, "parser": "properties", "replace": [{"match": "port", "replace_with": 25601}]}]})
    return volume


@pytest.mark.parametrize("call", ["fchmod", "fsync", "rename"])
def test_a_boot_killed_before_the_rename_leaves_the_old_file_whole(fake: FakeNode, volume: Path, call: str) -> None:
    mode = (volume / FILE).stat().st_mode
    boot_killed_at(fake, call)
    assert (volume / FILE).read_bytes() == OLD
    result = fake.perform("start", diff=True)
    assert (result.outcome.value, [diff.path for diff in result.files]) == ("done", [FILE])
    assert ((volume / FILE).read_bytes(), (volume / FILE).stat().st_mode) == (NEW, mode)
    assert os.listdir(volume) == [FILE]


def test_a_boot_killed_after_the_rename_leaves_the_new_file_whole(fake: FakeNode, volume: Path) -> None:
    boot_killed_at(fake, "rename", after=True)
    assert (volume / FILE).read_bytes() == NEW
    number = (volume / FILE).stat().st_ino
    result = fake.perform("start", diff=True)
    assert (result.outcome.value, result.files, (volume / FILE).stat().st_ino) == ("done", (), number)
    assert os.listdir(volume) == [FILE]
