# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of real servers: from what happens to a container to the receiver that is told of it, and nothing that is nobody's business."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .event_sending import EventReceiver, SendingNode
from .lab import Lab, wait_until
from .supervisors import Supervising, await_run_after, crash

#: Planted wherever a server may have a secret; each has a part of its own, so that it shows where one came from.
SECRET = "s3cr3t-of-the-{}"


@pytest.fixture(name="receiver")
def open_receiver() -> Iterator[EventReceiver]:
    receiver = EventReceiver()
    yield receiver
    receiver.close()


def sending(lab: Lab, receiver: EventReceiver) -> SendingNode:
    """The sender of the lab's node, with one receiver."""
    lab.write_settings(events={"receivers": [{"name": "all", "url": receiver.url}]})
    return SendingNode.beside(lab.root, lab.config)


def told_of(receiver: EventReceiver, uuid: str) -> list[dict[str, Any]]:
    """What was told of a server; the engine has those of other tests, whose crashes are told as well."""
    return [event for event in receiver.got if event["subject"] == uuid]


def test_what_happens_to_a_server_is_told_and_none_of_its_secrets(lab: Lab, receiver: EventReceiver) -> None:
    uuid = lab.server(
        name="Lobby",
        BOOT_SECONDS=0.2,
        SAY=SECRET.format("log"),
        DB_PASSWORD=SECRET.format("environment"),
        RCON_TOKEN=SECRET.format("token"),
    )
    lab.write_settings(supervisor={"max_restarts": 1, "reset_after": 3600}, token=SECRET.format("node"))

    def types() -> list[str]:
        return [event["type"] for event in told_of(receiver, uuid)]

    with sending(lab, receiver), Supervising(lab) as supervising:
        supervising.await_ready()
        assert lab.power("start", uuid, origin="alice@web1", reason="update").outcome.value == "done"
        before = crash(lab, uuid)
        await_run_after(lab, uuid, before, 30)
        wait_until(lambda: len(types()) == 4, "it is told that it is up again", 30)
        crash(lab, uuid)
        wait_until(lambda: "server.crash_loop" in types(), "it is told that it was given up", 30)
        lab.edit(uuid, suspended=True)
        assert lab.power("start", uuid).outcome.value == "refused"
        assert lab.power("stop", uuid).outcome.value == "unchanged"
        lab.edit(uuid, suspended=False)
        assert lab.power("start", uuid).outcome.value == "done"
        wait_until(lambda: len(types()) == 8, "the start is told, and neither the refusal nor the stop of what was down already")
    told = [(event["type"], event["data"].get("outcome")) for event in told_of(receiver, uuid)]
    # The supervisor's own start ends once it counts as up, so that its end comes before or after that the server is up again.
    assert sorted(told[2:4]) == [("action.ended", "done"), ("server.recovered", None)]
    assert told[:2] + told[4:6] == [
        ("action.ended", "done"),
        ("server.crashed", None),
        ("server.crashed", None),
        ("server.crash_loop", None),
    ]
    assert sorted(told[6:]) == [("action.ended", "done"), ("server.recovered", None)]
    first = told_of(receiver, uuid)[0]
    assert (first["subject"], first["data"]["server"]["name"]) == (uuid, "Lobby")
    assert (first["data"]["origin"], first["data"]["reason"]) == ("alice@web1", "update")
    sent = b"".join(asked.body + repr(asked.headers).encode() for asked in receiver.asked)
    assert b"s3cr3t-of-the" not in sent
