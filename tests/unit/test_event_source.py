# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source of Event-Driven Ansible: its arguments, its cursor, and hostile nodes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import json
import os
import runpy
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp")
from aiohttp import web

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCE = runpy.run_path(str(CHECKOUT / "extensions" / "eda" / "plugins" / "event_source" / "events.py"))
TOKEN = "the-token"
pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="ansible-rulebook runs on a controller's Python")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def event(number: int) -> dict[str, Any]:
    return {"specversion": "1.0", "id": f"id-{number}", "type": "server.crashed", "sequence": str(number).zfill(20), "data": {}}


def page(*numbers: int, cursor: str = "", dropped: int = 0, reset: bool = False) -> dict[str, Any]:
    last = max(numbers, default=0)
    return {"cursor": cursor or f"box:{last}", "dropped": dropped, "reset": reset, "events": [event(number) for number in numbers]}


@contextlib.asynccontextmanager
async def node(*answers: Handler | dict[str, Any]) -> AsyncIterator[tuple[str, list[web.Request]]]:
    """A node that gives these answers in turn, then empty pages. Yield its address and its requests."""
    asked: list[web.Request] = []
    left = list(answers)

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        each = left.pop(0) if left else page(cursor=request.query["after"] if ":" in request.query["after"] else "box:0")
        return web.json_response(each) if isinstance(each, dict) else await each(request)

    application = web.Application()
    application.router.add_get("/api/events", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def following(url: str, **more: Any) -> AsyncIterator[tuple[asyncio.Queue[Any], asyncio.Task[None]]]:
    queue: asyncio.Queue[Any] = asyncio.Queue(1)
    task = asyncio.ensure_future(SOURCE["main"](queue, {"url": url, "token": TOKEN, "after": "oldest", **more}))
    try:
        yield queue, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def followed(
    *answers: Handler | dict[str, Any], **more: Any
) -> AsyncIterator[tuple[list[web.Request], asyncio.Queue[Any], asyncio.Task[None]]]:
    """Run the source on such a node. Yield the node's requests, the queue and the source's task."""
    async with node(*answers) as served, following(served[0], **more) as (queue, task):
        yield served[1], queue, task


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60.0))


async def take(queue: asyncio.Queue[Any]) -> str:
    entry = await asyncio.wait_for(queue.get(), 20.0)
    return str(entry["payload"]["id"])


@pytest.mark.parametrize(
    "given, why",
    [
        ({"url": ""}, "url is the address"),
        ({"url": "http://"}, "url is the address"),
        ({"token_file": "/etc/token"}, "give the node's token"),
        ({"after": "yesterday"}, "after is now, oldest, or a cursor"),
        ({"wait": 61}, "from 1 to 60"),
        ({"cursor": "box:1"}, "there is no argument cursor"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_argument_is_refused_with_the_reason(given: dict[str, Any], why: str) -> None:
    async def hold() -> None:
        queue: asyncio.Queue[Any] = asyncio.Queue(1)
        with pytest.raises(ValueError, match=why):
            await SOURCE["main"](queue, {"url": "http://127.0.0.1:9", "token": TOKEN, **given})

    run(hold)


@pytest.mark.parametrize("text", ["", "box:", "box:1\nbox:2", "{}"], ids=ascii)
def test_a_cursor_file_without_a_cursor_is_an_error_and_stays_unchanged(tmp_path: Path, text: str) -> None:
    async def hold() -> None:
        file = tmp_path / "cursor"
        file.write_text(text)
        async with followed(page(1), cursor_file=str(file)) as (asked, _queue, task):
            with pytest.raises(ValueError, match="has no cursor; remove it"):
                await task
            assert not asked
        assert file.read_text() == text

    run(hold)


def test_the_cursor_file_contains_only_events_that_were_taken(tmp_path: Path) -> None:
    async def hold() -> None:
        file = tmp_path / "cursor"
        async with followed(page(1, 2, 3), cursor_file=str(file)) as (_asked, queue, _task):
            while queue.empty():
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            assert not file.exists()
            assert await take(queue) == "id-1"
            while queue.empty():
                await asyncio.sleep(0.01)
            assert file.read_text() == "box:1\n"
        # The second event was ready, but the test did not take it.
        assert file.read_text() == "box:1\n"
        assert list(tmp_path.iterdir()) == [file]

    run(hold)


def test_the_cursor_is_written_although_its_directory_cannot_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync
    number = errno.EINVAL

    def sync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    file = SOURCE["CursorFile"](str(tmp_path / "cursor"))
    file.write("box:1")
    assert file.read() == "box:1"
    number = errno.EIO
    with pytest.raises(ValueError, match="would come again"):
        file.write("box:2")


def test_an_event_that_is_taken_during_the_end_does_not_come_again(tmp_path: Path) -> None:
    async def hold() -> None:
        file = tmp_path / "cursor"
        async with followed(page(1, 2), cursor_file=str(file)) as (_asked, queue, task):
            while queue.empty():
                await asyncio.sleep(0)
            queue.get_nowait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert file.read_text() == "box:1\n"

    run(hold)


EVIL = "lookup('pipe', 'touch owned')"
TEMPLATES = (
    f"{{{{ {EVIL} }}}}",
    f"{{{{{{ {EVIL} }}}}}}",
    f"{{% set x = {EVIL} %}}",
    f"{{# x #}}{{%- set x = {EVIL} %}}",
    f"#jinja2:variable_start_string:'[[',variable_end_string:']]'\n[[ {EVIL} ]]",
)


def test_no_text_of_an_event_is_a_template_in_a_playbook(tmp_path: Path) -> None:
    pytest.importorskip("ansible")
    names = [*TEMPLATES, "{ plain } 100% #1"]
    taken: list[Any] = []

    async def hold() -> None:
        events = [{**event(number), "data": {"server": {"name": name}, "deep": [{name: name}]}} for number, name in enumerate(names, 1)]
        async with followed({**page(), "cursor": f"box:{len(names)}", "events": events}) as (_asked, queue, _task):
            for _name in names:
                taken.append(await asyncio.wait_for(queue.get(), 20.0))

    run(hold)
    assert taken[-1]["payload"]["data"]["server"]["name"] == names[-1]
    (tmp_path / "vars.json").write_text(json.dumps({"taken": [each["payload"] for each in taken]}))
    task = {"name": "Use it", "ansible.builtin.copy": {"content": "{{ taken | to_json }}", "dest": str(tmp_path / "used")}}
    play = {"name": "Page", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}
    (tmp_path / "page.yml").write_text(json.dumps([play]))
    program = Path(sys.executable).with_name("ansible-playbook")
    subprocess.run(
        [program, "-e", "@vars.json", "page.yml"], cwd=tmp_path, check=True, capture_output=True, env={**os.environ, "HOME": str(tmp_path)}
    )
    assert json.loads((tmp_path / "used").read_text()) == [each["payload"] for each in taken]
    assert not (tmp_path / "owned").exists()


async def _break_off(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _never_end(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _part in range(400):
        await response.write(b"[" * 65536)
    return response


def _answer(status: int, body: bytes = b"", **headers: str) -> Handler:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return answer


HOSTILE: dict[str, Handler] = {
    "breaks off": _break_off,
    "never ends": _never_end,
    "500": _answer(500, b'{"error": "An unexpected error"}'),
    "404": _answer(404, b'{"error": "this node keeps none", "code": "events_disabled"}'),
    "503 of a proxy": _answer(503, b"<html>"),
    "no JSON": _answer(200, b"\xff"),
    "deep JSON": _answer(200, b"[" * 200_000),
    "a list": _answer(200, b"[]"),
    "an invalid cursor": _answer(200, json.dumps(page(1, cursor="/etc/passwd\n")).encode()),
    "an event without a number": _answer(200, json.dumps({**page(), "events": [{"id": "x", "type": "y"}]}).encode()),
    "an endless number": _answer(200, b'{"cursor": "box:1", "dropped": 1e999, "reset": false, "events": []}'),
    "a number too large for a cursor": _answer(200, json.dumps({**page(), "events": [{**event(1), "sequence": 10**18}]}).encode()),
    "invalid events": _answer(200, json.dumps({**page(), "events": [1, None]}).encode()),
    "a redirect": _answer(307, Location="http://127.0.0.1:9/elsewhere"),
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_after_any_bad_answer_the_source_repeats_its_request(hostile: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCE["_pauses"].__globals__, "_FIRST_PAUSE", 0.05)

    async def hold() -> None:
        async with followed(page(1), hostile, page(2)) as (asked, queue, _task):
            assert [await take(queue), await take(queue)] == ["id-1", "id-2"]
            assert [request.query["after"] for request in asked[1:3]] == ["box:1", "box:1"]

    run(hold)


def test_a_compressed_answer_is_not_requested_and_not_decompressed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOURCE["_pauses"].__globals__, "_FIRST_PAUSE", 0.05)
    bomb = _answer(200, gzip.compress(json.dumps(page(1)).encode()), **{"Content-Encoding": "gzip"})

    async def hold() -> None:
        async with followed(bomb, page(2)) as (asked, queue, _task):
            assert await take(queue) == "id-2"
            assert asked[0].headers["Accept-Encoding"] == "identity"

    run(hold)
    assert "its answer is compressed (gzip), and only plain answers are read; trying again" in caplog.text


def test_a_redirect_does_not_forward_the_token() -> None:
    async def hold() -> None:
        async with node(page(1)) as (other, heard):
            async with followed(_answer(307, Location=f"{other}/api/events")) as (asked, _queue, _task):
                while not asked:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.3)
            assert not heard

    run(hold)
