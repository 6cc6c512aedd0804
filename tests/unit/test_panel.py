# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Panel as a source: the servers of the node, a code for each fault, and bounded, shared retries."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition_files import name_in
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import PowerError, SourceDenied, SourceUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.sources.panel import Panel, PanelApi
from ansible_collections.fleet.power.tests.integration.panel_server import (
    LIST,
    ONE,
    TOKEN,
    TOKEN_ID,
    Behaviour,
    FakePanel,
    dripping,
    endless,
    silent,
    status,
    text,
    truncated,
    value,
)
from ansible_collections.fleet.power.tests.unit.thread_support import in_threads

FIXTURES = Path(__file__).parent / "fixtures" / "definitions"


class QuickClock:
    """A clock that runs thirty times as fast as real time, and whose `sleep` returns at once."""

    def __init__(self) -> None:
        self.naps: list[float] = []
        self._skipped = 0.0
        self._began = time.monotonic()

    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        return (time.monotonic() - self._began) * 30 + self._skipped

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self._skipped += seconds


class StillClock(QuickClock):
    def monotonic(self) -> float:
        return self._skipped


def uuid_of(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def definition(number: int, name: str = "", **settings: Any) -> dict[str, Any]:
    container = {"image": "img"}
    return {"settings": {"uuid": uuid_of(number), "meta": {"name": name or f"Server {number}"}, "container": container, **settings}}


@pytest.fixture
def server(no_proxies: None) -> Iterator[FakePanel]:
    with closing(FakePanel(*(definition(number) for number in range(7)))) as server:
        yield server


def panel_at(server: FakePanel, clock: Any = None, *, timeout: int = 5, per_page: int = 3, **changes: object) -> Panel:
    query = {"timeout": timeout, "boot_servers_per_page": per_page}
    settings = parse_settings({**server.settings, "remote_query": query, **changes}, where="test")
    clock = clock or StillClock()
    return Panel(settings, clock, PanelApi(settings, clock, chance=lambda: 0.5))


def error_of(panel: Panel, number: int = 1, **options: Any) -> PowerError:
    with pytest.raises(PowerError) as caught:
        panel.definition(uuid_of(number), **options)
    return caught.value


def test_the_list_is_read_page_by_page_and_serves_every_server(server: FakePanel) -> None:
    panel = panel_at(server)
    assert sorted(panel.listed().servers) == [uuid_of(number) for number in range(7)]
    assert [name_in(panel.listed().servers[uuid_of(number)]) for number in range(7)] == [f"Server {number}" for number in range(7)]
    found = [panel.definition(uuid_of(number)) for number in range(7)]
    assert [each.server.name for each in found if each is not None] == [f"Server {number}" for number in range(7)]
    assert sorted(asked.path for asked in server.asked) == [f"/api/remote/servers?page={page}&per_page=3" for page in (1, 2, 3)]


def test_the_pages_of_real_panels_can_be_read(server: FakePanel) -> None:
    for page in (1, 2):
        server.fault(value(json.loads((FIXTURES / f"list-page-{page}.json").read_text())), of=f"page={page}&")
    panel = panel_at(server)
    assert len(panel.listed().servers) >= 2
    assert all(panel.definition(uuid) is not None for uuid in panel.listed().servers)


@pytest.mark.parametrize("again", [False, True])
def test_a_server_that_leaves_the_node_is_gone_after_ten_seconds(server: FakePanel, again: bool) -> None:
    clock = StillClock()
    panel = panel_at(server, clock)
    assert panel.definition(uuid_of(1)) is not None
    server.put(definition(1), listed=False)
    clock.sleep(10.1)
    assert panel.definition(uuid_of(1), again=again) is None
    assert panel.seen is not None and uuid_of(1) not in panel.seen.servers


def test_an_old_list_does_not_prove_that_a_server_is_on_this_node(server: FakePanel) -> None:
    clock = StillClock()
    panel = panel_at(server, clock)
    panel.listed()
    clock.sleep(11)
    server.fault(status(500), of=LIST)
    for again in (True, False):
        assert error_of(panel, again=again).__class__ is SourceUnreachable
    tries = server.count(LIST)
    assert error_of(panel, 2).__class__ is SourceUnreachable and server.count(LIST) == tries
    assert server.count(ONE) == 0 and name_in(panel.listed().servers[uuid_of(1)]) == "Server 1"
    server.well()
    clock.sleep(11)
    assert panel.definition(uuid_of(1)) is not None


def test_forty_threads_at_once_read_the_list_once(server: FakePanel) -> None:
    panel = panel_at(server)
    assert None not in in_threads(40, lambda number: panel.definition(uuid_of(number % 7)))
    assert len(server.asked) == 3


@pytest.mark.parametrize("again", [False, True], ids=["list", "one"])
@pytest.mark.parametrize("number", [300, 500, 503])
def test_retries_of_a_faulty_panel_end_within_thirty_seconds(server: FakePanel, number: int, again: bool) -> None:
    clock = StillClock()
    panel = panel_at(server, clock)
    if again:
        panel.listed()
    before = server.count()
    server.fault(status(number))
    error = error_of(panel, again=again)
    assert error.__class__ is SourceUnreachable and f"HTTP {number}, HttpException: An unexpected error" in str(error)
    assert sum(clock.naps) < 30 and 7 <= server.count() - before <= 12


DENIED, UNREACHABLE = SourceDenied, SourceUnreachable
FAULTS: dict[str, tuple[Behaviour, type[PowerError], str]] = {
    "401": (status(401), DENIED, "refuses this node's token"),
    "403": (
        status(403, "AccessDeniedHttpException", "You are not authorized"),
        DENIED,
        "AccessDeniedHttpException: You are not authorized",
    ),
    "400": (status(400), DENIED, "check the settings token_id and token"),
    "429": (status(429), UNREACHABLE, "HTTP 429"),
    "500": (status(500), UNREACHABLE, "HTTP 500"),
    "an error without a message": (text(b"<html>", 503), UNREACHABLE, "HTTP 503"),
    "an error of another shape": (value({"errors": [[1]]}, 503), UNREACHABLE, "HTTP 503"),
    "closed": (lambda answer: answer.cut(), UNREACHABLE, "the connection was cut"),
    "truncated": (truncated, UNREACHABLE, "the connection was cut"),
    "truncated JSON": (text(b'{"data": ['), UNREACHABLE, "not JSON"),
    "a web page": (text(b"<html>Welcome</html>"), UNREACHABLE, "not JSON"),
    "nothing": (text(b""), UNREACHABLE, "not JSON"),
    "deep": (text(b"[" * 100_000), UNREACHABLE, "not JSON"),
    "deep and complete": (text(b'{"data": ' + b"[" * 500 + b"]" * 500 + b"}"), UNREACHABLE, "not JSON"),
    "silent": (silent, UNREACHABLE, "no answer within 1 s"),
    "dripping": (dripping, UNREACHABLE, "no answer within 1 s"),
    "endless": (endless, UNREACHABLE, "larger than"),
}


@pytest.mark.parametrize("again", [False, True], ids=["list", "one"])
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_the_panel_has_its_code(server: FakePanel, fault: str, again: bool) -> None:
    behaviour, kind, words = FAULTS[fault]
    # A long timeout, so that a busy machine still reads a late answer.
    panel = panel_at(server, QuickClock(), timeout=1 if fault in ("silent", "dripping") else 10)
    if again:
        panel.listed()
    server.fault(behaviour)
    began = time.monotonic()
    error = error_of(panel, again=again)
    assert error.__class__ is kind and words in str(error) and server.url in str(error)
    assert time.monotonic() - began < 8


@pytest.mark.parametrize(
    "page",
    [
        [],
        "text",
        {"data": None, "meta": {"last_page": 1}},
        {"data": {"a": 1}, "meta": {"last_page": 1}},
        {"data": []},
        *({"data": [], "meta": {"last_page": last}} for last in (None, True, "2", -1, 1.5, 1001, 10**9, 10**300)),
    ],
)
def test_a_list_of_another_shape_is_unreachable_after_one_request(server: FakePanel, page: object) -> None:
    server.fault(value(page))
    error = error_of(panel_at(server))
    assert error.__class__ is SourceUnreachable and "its list of servers" in str(error)
    assert server.count() == 1


def test_a_list_of_too_many_servers_ends_early_with_an_error(server: FakePanel) -> None:
    entries: list[Any] = [{"uuid": uuid_of(number)} for number in range(1000)]
    server.fault(value({"data": entries, "meta": {"last_page": 1000}}))
    error = error_of(panel_at(server))
    assert error.__class__ is SourceUnreachable and "more than 20000 servers" in str(error)
    assert server.count() < 30


def test_a_list_of_too_many_values_ends_early_with_an_error(server: FakePanel) -> None:
    server.fault(text(b'{"meta":{"last_page":1000},"data":[],"x":[' + b"0," * 359_000 + b"0]}"))
    error = error_of(panel_at(server))
    assert error.__class__ is SourceUnreachable and "its list holds more than 2000000 values" in str(error)
    assert server.count() < 12


def test_invalid_entries_hide_no_valid_server(server: FakePanel) -> None:
    entries: list[Any] = [
        None,
        5,
        "text",
        [],
        {},
        {"uuid": "../etc"},
        {"uuid": 5},
        {"settings": []},
        {"uuid": uuid_of(1).upper(), **definition(1)},
    ]
    server.fault(value({"data": entries, "meta": {"last_page": 1}}))
    panel = panel_at(server)
    assert (list(panel.listed().servers), panel.listed().strays) == ([uuid_of(1)], 8)


def test_no_message_shows_a_token_or_a_definition(server: FakePanel) -> None:
    server.put(definition(1, environment={"PASSWORD": "hunter22"}, suspended="perhaps"))
    panel = panel_at(server)
    messages = [str(error_of(panel))]
    for behaviour in (status(401), status(500), text(b'{"settings": {"environment": {"PASSWORD": "hunter22"'), truncated):
        server.well()
        server.fault(behaviour)
        messages.append(str(error_of(panel, again=True)))
    assert not [each for each in messages if "hunter22" in each or TOKEN in each]
    assert "hunter22" not in repr(panel.seen)


@pytest.mark.parametrize("again", [False, True], ids=["list", "one"])
@pytest.mark.parametrize(
    "behaviour",
    [status(403, "Denied", f"{TOKEN_ID}.{TOKEN} is wrong"), status(500, "E", "x" * 170 + TOKEN)],
    ids=["403", "cut"],
)
def test_a_token_in_an_answer_of_the_panel_is_not_shown(server: FakePanel, behaviour: Behaviour, again: bool) -> None:
    panel = panel_at(server)
    if again:
        panel.listed()
    server.fault(behaviour)
    message = str(error_of(panel, again=again)).lower()
    assert TOKEN[:20] not in message and "***" in message
