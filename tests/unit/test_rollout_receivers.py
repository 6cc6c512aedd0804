# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Receivers of a rolling run: each event once, in order, and no receiver delays or fails the rolling run."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout import notifications, run_files
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.events import WaitingEvents
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.notifications import read_receivers
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event, EventType
from ansible_collections.fleet.power.tests.unit.receiver_support import SECRET, FakeReceiver, fake_receiver
from ansible_collections.fleet.power.tests.unit.rollout_controller import Controller, new_controller
from ansible_collections.fleet.power.tests.unit.rollout_support import ended, fleet


@pytest.fixture
def controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Controller:
    return new_controller(tmp_path, monkeypatch)


@pytest.fixture
def chat() -> Iterator[FakeReceiver]:
    with fake_receiver() as receiver:
        yield receiver


def add_receivers(controller: Controller, *receivers: FakeReceiver, **more: Any) -> None:
    rules = [{"name": f"chat-{number}", "url": each.url, **more} for number, each in enumerate(receivers)]
    controller.vars["rollout_receivers"] = rules


def run(controller: Controller, outcome: str = "done", **given: Any) -> dict[str, Any]:
    """Do a whole rolling run over two nodes; return the result of the last task."""
    controller.nodes(fleet(2, 1))
    planned = controller.plan(serial=1, **given)
    controller.warned = planned.get("warnings", [])
    for number, node in ((1, "node-1"), (2, "node-2")):
        begun = controller.begin(planned["file"], number)
        if "work" not in begun:
            return begun
        controller.answers({node: ended(begun["work"][node]["servers"], outcome)})
    return controller.report(planned["file"])


def run_in_vain(controller: Controller, receiver: FakeReceiver, monkeypatch: pytest.MonkeyPatch) -> str:
    """Do a whole rolling run whose events the receiver refuses; return its name. Later runs have more time to send."""
    monkeypatch.setattr(notifications, "SEND_SECONDS", 0.5)
    add_receivers(controller, receiver)
    receiver.status = 503
    run(controller)
    monkeypatch.setattr(notifications, "SEND_SECONDS", 10.0)
    return controller.run


def waiting(controller: Controller) -> list[str]:
    found = (Path(os.environ["HOME"]) / ".ansible/fleet_power/rollout-events").glob("*.json")
    return sorted(path.name.split("-")[1] for path in found)


def test_a_used_up_budget_sends_a_stopped_event_and_no_ended_event(controller: Controller, chat: FakeReceiver) -> None:
    add_receivers(controller, chat)
    reported = run(controller, "failed")
    assert reported["failed"]
    assert chat.types == ["rollout.begun", "rollout.stopped"]
    said = chat.sent[1].value["data"]
    assert said["stopped"] == "1 failed, 0 allowed"
    assert said["resume_file"] == reported["resume_file"] and reported["resume_file"] in said["go_on"]


@pytest.mark.parametrize("fault", ["refuses", "500", "hangs", "trickles", "redirects", "later"])
def test_a_broken_receiver_does_not_fail_the_rolling_run_or_delay_it_long(
    controller: Controller, chat: FakeReceiver, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(notifications, "SEND_SECONDS", 1.0)
    with fake_receiver() as bad, fake_receiver() as elsewhere:
        add_receivers(controller, bad, chat)
        if fault == "refuses":
            controller.vars["rollout_receivers"][0]["url"] = "http://127.0.0.1:9/hook"
        elif fault == "hangs":
            bad.hangs = 60
        elif fault == "trickles":
            bad.status, bad.trickles = 500, True
        elif fault == "redirects":
            bad.status, bad.answer_headers = 307, {"Location": elsewhere.url}
        elif fault == "later":
            bad.status, bad.answer_headers = 429, {"Retry-After": "3600"}
        else:
            bad.status = int(fault)
        began = time.monotonic()
        reported = run(controller)
        # Two events, and time for the rest on a busy machine.
        assert time.monotonic() - began < 2 * 1.0 + 6
        assert elsewhere.sent == []
    assert "failed" not in reported and controller.result["ok"]
    assert chat.types == ["rollout.begun", "rollout.ended"]
    assert waiting(controller) == ["begun", "closed"]
    # The warning comes once, at the first failure.
    (warning,) = controller.warned
    assert warning.startswith(f"Cannot notify receiver chat-0 of run {controller.run}: ") and "warnings" not in reported


def test_the_next_rolling_run_sends_undelivered_events_first_with_the_same_id(
    controller: Controller, chat: FakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, tried = run_in_vain(controller, chat, monkeypatch), {each.headers["webhook-id"] for each in chat.sent}
    # The second event waits until the receiver accepts the first.
    assert set(chat.types) == {"rollout.begun"}
    chat.status = 204
    chat.sent.clear()
    run(controller)
    assert chat.events == [(f"rollout.{word}", each) for each in (first, controller.run) for word in ("begun", "ended")]
    assert {chat.sent[0].headers["webhook-id"]} == tried and waiting(controller) == []


def test_waiting_events_do_not_go_to_another_receiver_of_the_same_name(
    controller: Controller, chat: FakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_in_vain(controller, chat, monkeypatch)
    with fake_receiver() as other:
        add_receivers(controller, other)
        run(controller)
        assert len(other.sent) == 2 and first not in {name for _kind, name in other.events}


def test_a_brief_clock_jump_of_two_days_drops_no_event(controller: Controller, chat: FakeReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_in_vain(controller, chat, monkeypatch)
    waiting = WaitingEvents(str(Path(os.environ["HOME"]) / ".ansible/fleet_power/run.json"))
    assert waiting.drop_older(time.time() + 2 * 86400) == 0
    assert waiting.drop_older(time.time()) == waiting.drop_older(time.time() + 2 * 86400) == 0
    chat.status = 200
    chat.sent.clear()
    run(controller)
    assert {name for _kind, name in chat.events} == {first, controller.run}
    assert controller.warned == []


def test_two_rolling_runs_at_the_same_time_send_waiting_events_once(controller: Controller, chat: FakeReceiver) -> None:
    add_receivers(controller, chat)
    chat.hangs = 0.3
    controller.nodes(fleet(1, 1))
    receivers = read_receivers(controller.vars["rollout_receivers"])
    files = WaitingEvents(str(Path(os.environ["HOME"]) / "resume.json"))
    for number in range(3):
        files.add(f"0000000{number}", Event(EventType.ROLLOUT_BEGUN, "2026-01-31T12:00:00.000Z", {"run": str(number)}), receivers)
    with ThreadPoolExecutor() as pool:
        rounds = [pool.submit(notifications.send_all, files, receivers, "ops-1", again=False) for _run in range(2)]
        assert [each.result() for each in rounds] == [[], []]
    assert [name for _kind, name in chat.events] == ["0", "1", "2"]


def killed(controller: Controller) -> str:
    """Mark the command of the rolling run as killed; return its file."""
    (file,) = (Path(os.environ["HOME"]) / ".ansible/fleet_power").glob("resume-*.json")
    kept = json.loads(file.read_text())
    kept["owner"] = {"pid": 1, "start": 1, "boot": "another"}
    file.write_text(json.dumps(kept))
    return str(file)


def test_a_resume_of_a_killed_rolling_run_first_sends_its_stopped_event(
    controller: Controller, chat: FakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_receivers(controller, chat)
    controller.nodes(fleet(2, 1))
    planned = controller.plan(serial=1)
    controller.begin(planned["file"], 1)
    first, file = controller.run, killed(controller)
    assert chat.types == ["rollout.begun"]
    resumed = controller.plan(serial=1, resume=file)
    second = controller.run
    assert chat.events == [("rollout.begun", first), ("rollout.stopped", first), ("rollout.begun", second)]
    assert chat.sent[1].value["data"]["stopped"] == "its command ended before it did"
    assert chat.sent[2].value["data"]["resumes"] == first
    # After another kill, events of the first rolling run are not repeated.
    controller.run = ""
    assert resumed["file"] == killed(controller)
    controller.plan(serial=1, resume=file)
    assert [name for _kind, name in chat.events].count(first) == 2
    assert chat.events[-2:] == [("rollout.stopped", second), ("rollout.begun", controller.run)]


def test_a_crash_at_any_write_loses_no_event_and_gives_no_event_a_second_id(
    controller: Controller, chat: FakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_receivers(controller, chat)

    class Death(BaseException):
        pass

    for death in range(1, 40):
        chat.sent.clear()
        left = [death]

        def passing(real: Any, left: list[int]) -> Any:
            def call(*arguments: Any, **more: Any) -> Any:
                left[0] -= 1
                if not left[0]:
                    raise Death
                return real(*arguments, **more)

            return call

        with monkeypatch.context() as patched:
            moments = ((run_files, "write"), (run_files, "remove"), (notifications, "send_all"), (WaitingEvents, "add"))
            for owner, name in moments:
                patched.setattr(owner, name, passing(getattr(owner, name), left))
            try:
                run(controller, "failed")
                break
            except Death:
                pass
        files = list((Path(os.environ["HOME"]) / ".ansible/fleet_power").glob("resume-*.json"))
        controller.run = ""
        run(controller, "failed", **({"resume": killed(controller), "resume_failed": True} if files else {}))
        by_run: dict[str, list[str]] = {}
        for kind, name in chat.events:
            by_run.setdefault(name, []).append(kind)
        assert len({each.headers["webhook-id"] for each in chat.sent}) == len(chat.sent)
        assert all(kinds[0] == "rollout.begun" and len(kinds) == 2 for kinds in by_run.values()), (death, by_run)
        assert waiting(controller) == []
        for file in (Path(os.environ["HOME"]) / ".ansible/fleet_power").glob("resume-*.json"):
            file.unlink()
    else:
        raise AssertionError("no command came to its end")
    assert death > 8


NOBODY = 65534


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def link_to(place: Path, folder: Path) -> None:
    place.mkdir(mode=0o700)
    folder.symlink_to(place)


def of_another(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can change the owner")
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, NOBODY)


def of_mode(folder: Path, mode: int) -> None:
    folder.mkdir()
    folder.chmod(mode)


PLANTED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a link": (lambda folder: link_to(folder.parent.parent / "elsewhere", folder), "it is a link or not a directory"),
    "a link to nothing": (lambda folder: folder.symlink_to("/nowhere/at/all"), "it is a link or not a directory"),
    "a file": (lambda folder: folder.write_text("") and None, "it is a link or not a directory"),
    "another's": (of_another, "it belongs to another user"),
    "the group's": (lambda folder: of_mode(folder, 0o770), "its mode lets others in"),
    "everybody's": (lambda folder: of_mode(folder, 0o1777), "its mode lets others in"),
}


@pytest.mark.parametrize("plant, why", PLANTED.values(), ids=PLANTED)
def test_a_directory_for_events_that_others_may_write_to_is_refused(
    controller: Controller, chat: FakeReceiver, shared: Path, plant: Callable[[Path], None], why: str
) -> None:
    plant(shared / "rollout-events")
    controller.nodes(fleet(2, 1))
    kept = shared / "resume.json"
    assert controller.plan(resume_file=str(kept))["run"]
    kept.unlink()
    add_receivers(controller, chat)
    refused = controller.plan(resume_file=str(kept))
    assert refused["failed"] and refused["code"] == "file_unwritable"
    assert refused["msg"] == (
        f"Cannot keep events for receivers in {shared}/rollout-events: {why}; remove it, make it yours with mode 0700, "
        "or name a rollout_resume_file in another directory"
    )
    assert chat.sent == [] and not kept.exists() and not list(shared.parent.glob("elsewhere/*"))


def test_events_in_a_directory_replaced_by_another_user_are_not_sent(controller: Controller, chat: FakeReceiver, shared: Path) -> None:
    add_receivers(controller, chat)
    chat.status = 503
    controller.nodes(fleet(1, 1))
    planned = controller.plan(resume_file=str(shared / "resume.json"))
    chat.status, before = 204, len(chat.sent)
    (shared / "rollout-events").rename(shared.parent / "elsewhere")
    (shared / "rollout-events").symlink_to(shared.parent / "elsewhere")
    begun = controller.begin(planned["file"], 1)
    controller.answers({"node-1": ended(begun["work"]["node-1"]["servers"], "done")})
    reported = controller.report(planned["file"])
    assert "failed" not in reported and len(chat.sent) == before
    assert [each for each in reported["warnings"] if "it is a link or not a directory" in each]


def test_the_lock_file_does_not_follow_a_link(controller: Controller, chat: FakeReceiver, tmp_path: Path) -> None:
    add_receivers(controller, chat)
    chat.status = 503
    run(controller)
    folder, elsewhere = Path(os.environ["HOME"]) / ".ansible/fleet_power/rollout-events", tmp_path / "elsewhere"
    (lock,) = folder.glob("*.lock")
    lock.unlink()
    lock.symlink_to(elsewhere)
    chat.status = 204
    run(controller)
    assert not elsewhere.exists() and waiting(controller) == []


def test_events_files_and_output_hold_no_secret(controller: Controller, chat: FakeReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "SEND_SECONDS", 0.5)
    add_receivers(controller, chat, secret=SECRET)
    controller.vars["rollout_receivers"][0]["url"] = f"{chat.url}/planted-path?token=planted-token"
    chat.status = 500
    reported = run(controller, "failed", options={"api_token": "planted-option"})
    files = [path.read_text() for path in Path(os.environ["HOME"]).rglob("*") if path.is_file()]
    said = [*files, *controller.shown, *map(str, (reported, controller.warned)), *(each.body.decode() for each in chat.sent)]
    assert len(files) >= 3 and chat.sent
    assert [text for text in said if "planted" in text or SECRET in text or SECRET[6:] in text] == []
