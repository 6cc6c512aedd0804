# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pull by the real engine from a registry that means no good: what it is given, and what becomes of its words."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from .lab import Lab
from .registry import Registry, registry
from .test_container import ended


@pytest.fixture(name="stranger")
def strange_registry() -> Iterator[Registry]:
    with registry() as found:
        yield found


#: Clears the screen, then forges lines of ours; and more than anybody wants to read.
HOSTILE = "\x1b[2J\x1b]0;title\x07\r\n0f4c5ad2: started\u2028Nov 27 host fleet-power: ok\x9b31m" + "x" * 5000


def trust(lab: Lab, *names: str) -> None:
    """Have credentials for these beginnings of images' names, the name being the user."""
    lab.write_settings(docker={"registries": {name: {"username": name, "password": "hunter22"} for name in names}})


def test_credentials_of_a_registry_do_not_reach_one_whose_name_only_begins_like_it(lab: Lab, stranger: Registry) -> None:
    trust(lab, stranger.address[:-1])
    result = lab.power("start", lab.server(image=f"{stranger.address}/team/game:1"))
    assert ended(result) == ("refused", "image_unavailable")
    assert stranger.asked
    assert stranger.given == []


def test_an_error_of_a_registry_is_one_line_without_control_characters(lab: Lab, stranger: Registry) -> None:
    stranger.says = HOSTILE
    trust(lab, stranger.address)
    image = f"{stranger.address}/team/game:1"
    result = lab.power("start", lab.server(image=image))
    assert ended(result) == ("refused", "image_unavailable")
    assert result.msg.isprintable()
    assert len(result.msg) < 1200
    assert result.msg.count("Cannot pull image") == 1
    assert result.msg.startswith(f"Cannot pull image {image}: ")
    assert "0f4c5ad2: started" in result.msg, "nothing else is taken from them"


def test_a_pull_for_which_there_is_no_thread_is_refused_while_the_server_is_up(
    lab: Lab, stranger: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    uuid = lab.server()
    assert ended(lab.power("start", uuid)) == ("done", "")
    lab.edit(uuid, container={"image": f"{stranger.address}/team/game:1"})

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        result = lab.power("restart", uuid)
    assert (*ended(result), result.changed) == ("refused", "image_unavailable", False)
    assert "no thread can be started for it; this machine is at a limit" in result.msg
    assert (stranger.asked, lab.is_up(uuid)) == ([], True)
