# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Websockets: tokens, places, and the messages that go over them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import jwt
import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket import rooms as rooms_file
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.claims import (
    Claims,
    Denials,
    TokenRefused,
    allows_origin,
    check,
    read_claims,
)
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.client_messages import REASONS, of_ending
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.frames import ClientMessage, Rates, joined, read_frame
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.member import Member
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.rooms import Rooms
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.stats import ServerView, state_changes
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_answers import Use
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState, Snapshot, Startup
from ansible_collections.fleet.power.tests.unit.docs_support import all_codes
from hypothesis import given
from hypothesis import strategies as st


class Closed(Member):
    def __init__(self) -> None:
        super().__init__(cast("Any", None), lambda: None, "r", "127.0.0.1", lambda _member: None)
        self.code: int | None = None
        self.sent: list[str] = []

    def send(self, event: str, *texts: str) -> None:
        self.sent.append(event)

    def close(self, code: int, reason: str) -> None:
        self.code = code


def in_loop(story: Callable[[Rooms], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        resources = SimpleNamespace(node=None, log=None, disks=None)
        await story(Rooms(cast("Any", resources), cast("Any", None)))

    asyncio.run(run())


def test_a_new_client_replaces_the_oldest_client_without_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms_file, "MOST_IN_ALL", 4)

    async def story(rooms: Rooms) -> None:
        members = [Closed() for _unused in range(6)]
        for number, member in enumerate(members):
            assert rooms.has_place()
            rooms.enter(f"server {number}", member)
        assert [member.code for member in members] == [1013, 1013, None, None, None, None]
        assert rooms.count() == 4
        for gone in members[:2]:
            rooms.leave("server", gone)
        assert rooms.count() == 4

    in_loop(story)


def test_a_client_that_is_shut_out_loses_its_token_before_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    room = SimpleNamespace(uuid="server", members=set(), close=lambda: None)
    room.join = room.members.add
    monkeypatch.setattr(rooms_file, "Room", lambda _uuid, _resources: room)
    monkeypatch.setattr(rooms_file, "Changes", lambda *_unused: SimpleNamespace(want=lambda _wanted: None))

    async def story(rooms: Rooms) -> None:
        stranger, expired, hears = Closed(), Closed(), Closed()
        for member in (stranger, expired, hears):
            rooms.enter("server", member)
        expired.claims = hears.claims = cast("Any", "claims")
        rooms.let_in("server", hears)
        assert rooms.shut_out() == 2
        assert [(each.code, each.claims, each.sent) for each in (stranger, expired, hears)] == [
            (None, None, []),
            (1008, None, ["token expired"]),
            (1008, None, ["token expired"]),
        ]
        assert (rooms.get("server"), rooms.count()) == (None, 1)

    in_loop(story)


def use(at: float, cpu: float) -> Use:
    return Use(at=at, cpu_seconds=cpu, memory=1, memory_limit=2)


KEY = "k" * 64
SERVER = "7f9f2b60-6c32-4f4b-9d65-0d6a1dd9a3d1"
NOW = 1_800_000_000.0


def made(**claims: Any) -> str:
    whole = {"iat": NOW, "nbf": NOW - 300, "exp": NOW + 600, "server_uuid": SERVER, "permissions": ["*"], "jti": "j"}
    return jwt.encode({name: value for name, value in {**whole, **claims}.items() if value is not None}, KEY, algorithm="HS256")


def why_not(text: str, now: float = NOW, oldest: float = NOW - 60) -> str:
    try:
        check(read_claims(text, KEY), SERVER, now, oldest)
    except TokenRefused as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({}, ""),
        ({"nbf": None, "aud": {}, "sub": 1, "jti": 5}, ""),
        ({"exp": NOW}, "jwt: exp claim is invalid"),
        ({"exp": True}, "jwt: exp claim is invalid"),
        ({"iat": None}, "jwt: created too far in past (denylist)"),
        ({"iat": NOW - 61}, "jwt: created too far in past (denylist)"),
        ({"nbf": NOW + 1}, "jwt: nbf claim is invalid"),
        ({"permissions": [["*"], 1, None]}, "jwt: missing connect permission"),
        ({"server_uuid": None}, "jwt: server uuid mismatch"),
    ],
)
def test_tokens_are_checked_as_in_wings(claims: dict[str, Any], reason: str) -> None:
    assert why_not(made(**claims)) == reason


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b.c",
        f"{_part({'alg': 'none'})}.{_part({'server_uuid': SERVER})}.",
        f"{_part({'alg': 'HS256'})}.{_part([1])}.x",
        jwt.encode({"exp": NOW + 600}, KEY, algorithm="HS512"),
        made()[:-3],
    ],
)
def test_invalid_tokens_are_refused(text: str) -> None:
    assert why_not(text) in ("jwt: malformed token", "jwt: HMAC verification failed")


def test_the_star_grants_all_permissions_except_those_of_administrators() -> None:
    def grants(permissions: set[str], wanted: str) -> bool:
        return Claims(SERVER, frozenset(permissions), NOW + 600.0, NOW).grants(wanted)

    assert grants({"*"}, "control.stop")
    assert not grants({"*"}, "admin.websocket.errors")
    assert grants({"admin.websocket.errors"}, "admin.websocket.errors")
    assert not grants({"control"}, "control.stop")
    assert not grants(set(), "control.stop")


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://panel.example.com", True),
        ("https://panel.example.com:8443", False),
        ("https://panel.example.com.evil.example.com", False),
        ("https://other.example.com", True),
        ("null", False),
    ],
)
def test_only_the_panel_and_allowed_origins_may_connect(origin: str | None, allowed: bool) -> None:
    assert allows_origin(origin, "https://panel.example.com/", ("https://other.example.com",)) is allowed


def test_a_denial_applies_to_tokens_issued_before_it() -> None:
    denials = Denials()
    denials.deny(["j"], NOW)
    old, new, other = (
        Claims(SERVER, frozenset("*"), NOW + 600, issued, jti=jti) for issued, jti in ((NOW - 1, "j"), (NOW + 1, "j"), (NOW, "k"))
    )
    assert [denials.has(claims) for claims in (old, new, other)] == [True, False, False]


def test_denials_are_limited_in_number_and_survive_a_clock_change() -> None:
    denials = Denials()
    for number in range(30_000):
        denials.deny([str(number)], NOW + number / 1000)
    assert len(denials) <= 20_000
    denials.deny(["last"], NOW + 200_000)
    assert denials.has(Claims(SERVER, frozenset("*"), NOW + 600, NOW, jti="29999"))


OFFLINE, STARTING, RUNNING, STOPPING = PowerState.OFFLINE, PowerState.STARTING, PowerState.RUNNING, PowerState.STOPPING


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"event":"send command","args":["say ","hello"]}', ClientMessage("send command", "say hello")),
        ('{"event":"send logs","args":null}', ClientMessage("send logs")),
        ('{"event":"send logs","args":[],"more":1}', ClientMessage("send logs")),
        ('{"event":"Auth","args":["x"]}', None),
        ('{"event":"auth","args":{"a":1}}', None),
        ("[" * 4000, None),
    ],
)
def test_a_frame_is_read_or_ignored(text: str, message: ClientMessage | None) -> None:
    assert read_frame(text) == message


def test_reasons_for_tenants_belong_to_existing_codes() -> None:
    assert set(REASONS) <= all_codes()


@pytest.mark.parametrize("code", [*sorted(all_codes()), "", None, "of a later release"])
def test_tenants_see_no_details_of_the_node_when_an_action_ends(code: str | None) -> None:
    secret = "/srv/secret registry.example.com pid 7"
    for outcome in Outcome:
        ended = {"id": "i", "action": "stop", "outcome": outcome.value, "code": code, "msg": secret, "warnings": [secret]}
        (text,) = of_ending(ended, whole=False)
        assert secret not in text
        assert "[i]" in text
        assert secret in "".join(of_ending(ended, whole=True))


@given(st.lists(st.integers(), unique=True, max_size=30), st.integers(0, 30), st.integers(0, 30))
def test_the_log_and_later_output_join_without_gaps_or_repeats(numbers: list[int], heard_from: int, read_until: int) -> None:
    lines = [str(number).encode() for number in numbers]
    heard_from, read_until = min(heard_from, len(lines)), min(read_until, len(lines))
    # The shim attaches before it reads the log, so no output lies between.
    read_until = max(heard_from, read_until)
    assert joined(lines[:read_until], lines[heard_from:]) == lines


def test_too_many_frames_are_delayed_and_too_many_events_are_dropped() -> None:
    rates = Rates(0.0)
    assert sum(rates.all.pause(0.0) > 0 for _unused in range(20)) == 10
    assert [rates.allows("auth", 0.0) for _unused in range(3)] == [True, True, False]
    assert [rates.allows("auth", moment) for moment in (4.9, 5.1)] == [False, True]
    assert sum(rates.allows("send command", 0.0) for _unused in range(20)) == 10
    assert sum(rates.allows("set state", 0.0) for _unused in range(20)) == 4
    assert sum(rates.warnings.take(0.0) for _unused in range(20)) == 2


def snapshot(run: str) -> Snapshot:
    return Snapshot(id="c", name="n", live=bool(run), started_at=run)


def view(state: PowerState, run: str = "", startup: Startup = Startup.UNKNOWN) -> ServerView:
    return ServerView(state, startup, snapshot(run))


def stopped(after: ServerView) -> ServerView:
    return replace(after, was_stopped=True)


@pytest.mark.parametrize(
    ("before", "after", "states"),
    [
        (None, view(RUNNING, "1", Startup.MATCHED), [RUNNING]),
        (view(OFFLINE), view(STARTING, "1", Startup.WAITING), [STARTING]),
        (view(OFFLINE), view(RUNNING, "1", Startup.MATCHED), [STARTING, RUNNING]),
        (view(STARTING, "1", Startup.WAITING), view(RUNNING, "1", Startup.MATCHED), [RUNNING]),
        (view(RUNNING, "1"), view(RUNNING, "2"), [OFFLINE, RUNNING]),
        (view(STOPPING, "1"), view(RUNNING, "2", Startup.MATCHED), [OFFLINE, STARTING, RUNNING]),
        (view(RUNNING, "1"), view(STOPPING, "1"), [STOPPING]),
        (view(OFFLINE), view(STOPPING, "1", Startup.WAITING), [STARTING, STOPPING]),
        (view(RUNNING, "1"), view(STOPPING, "2", Startup.MATCHED), [OFFLINE, STARTING, RUNNING, STOPPING]),
        (view(STOPPING, "1"), view(OFFLINE), [OFFLINE]),
        (view(RUNNING, "1"), stopped(view(OFFLINE)), [STOPPING, OFFLINE]),
        (view(STOPPING, "1"), stopped(view(OFFLINE)), [OFFLINE]),
        (view(RUNNING, "1"), stopped(view(RUNNING, "2", Startup.MATCHED)), [STOPPING, OFFLINE, STARTING, RUNNING]),
    ],
)
def test_every_state_change_is_sent_although_the_shim_missed_some(
    before: ServerView | None, after: ServerView, states: list[PowerState]
) -> None:
    assert state_changes(before, after) == states


def test_a_running_server_is_not_shown_as_starting_when_a_start_takes_it_over() -> None:
    by_others, taken_over, ready = view(RUNNING, "1"), view(STARTING, "1", Startup.WAITING), view(RUNNING, "1", Startup.MATCHED)
    assert state_changes(by_others, taken_over, RUNNING) == []
    assert state_changes(taken_over, ready, RUNNING) == []
    assert state_changes(taken_over, view(STOPPING, "1", Startup.MATCHED), RUNNING) == [STOPPING]
