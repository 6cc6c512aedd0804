# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An event source for ansible-rulebook: follows the events of a node over its HTTP shim, from a cursor on.

This file stands alone: ansible-rulebook runs it by its path, and brings aiohttp along.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import random
import re
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp

DOCUMENTATION = r"""
---
module: events
short_description: Follow the events of a node
description:
  - Reads the events of a node from C(GET /api/events) of its HTTP shim, at once and in their order.
  - C(event.payload) has each event as a CloudEvent, as receivers get it. So there are C(event.payload.type) and
    C(event.payload.data.server.name). C(event.meta.cursor) is its place.
  - A node keeps 10,000 events for a day. A rulebook that is away for less time misses no event. For missing events there is one of type
    V(events.dropped). C(data.count) has their number, or V(null) if that is unknown.
  - With O(cursor_file) a rulebook continues from its last place. After a kill or a power loss the last event may come twice, with the same
    C(event.payload.id).
  - No text of an event is a template. A blank breaks each beginning of one, such as C({ {).
  - ansible-rulebook keeps no event. After a kill, events that it took but did not handle are lost.
options:
  url:
    description: Address of the node's HTTP shim.
    type: str
    required: true
  token:
    description: The node's token, the setting V(token). Give either this or O(token_file).
    type: str
  token_file:
    description: File with that token. It is read at each request.
    type: path
  cursor_file:
    description:
      - File with the cursor, one for each source. Its directory must exist.
      - Without it each start of the rulebook begins at O(after).
    type: path
  after:
    description:
      - The beginning if there is no O(cursor_file) yet. V(now) means only new events, V(oldest) all events that the node has.
      - Also a cursor from C(event.meta.cursor).
    type: str
    default: now
  ca:
    description: File with the CA certificates for the node. The default is those of the system.
    type: path
  wait:
    description: Seconds that one request waits for an event, 1 to 60.
    type: int
    default: 50
"""

EXAMPLES = r"""
- name: Watch one node
  hosts: all
  sources:
    - name: node_1
      fleet.power.events:
        url: https://node1.example.com:8080
        token_file: /etc/ansible-rulebook/node1.token
        cursor_file: /var/lib/ansible-rulebook/node1.cursor
  rules:
    - name: Report a crash loop
      condition: event.payload.type == "server.crash_loop"
      action:
        debug:
          msg: "{{ event.payload.data.server.name }} has crashed {{ event.payload.data.consecutive_crashes }} times in a row"
"""

_logger = logging.getLogger(__name__)

_ARGUMENTS = {"url", "token", "token_file", "cursor_file", "after", "ca", "wait"}
_CURSOR = re.compile(r"(?P<outbox>[0-9A-Za-z-]{1,64}):(?P<number>[0-9]{1,18})")
#: The beginning of a template: two characters, or the line that defines them.
_TEMPLATE = re.compile(r"\{(?=[{%#])|\A#(?=jinja2:)")
#: The limit of an event's number: a larger cursor would not match `_CURSOR`.
_NUMBERS = 10**18
_BEGINNINGS = {"now": "now", "oldest": ""}
_PATH = "/api/events"
_LIMIT = 100
_LONGEST_WAIT = 60
_CONNECT_SECONDS = 10
#: In addition to the requested wait.
_PATIENCE_SECONDS = 30
#: Bytes of one answer. A page has 100 events.
_MOST_BYTES = 16 * 1024 * 1024
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
#: The shortest time between two requests without news, however fast the node answers.
_LEAST_SECONDS = 1.0
#: Pauses between looks if ansible-rulebook has taken an event: short at first, because it usually has.
_LOOK_SECONDS = (0.0, 0.0, 0.001, 0.005, 0.02)


class Refused(Exception):
    """The node refuses the token."""


class EventsUnavailable(Exception):
    """The node could not be reached, or its answer is unusable."""


@dataclass(frozen=True)
class Options:
    url: str
    token: str
    token_file: str
    cursor_file: str
    after: str
    ca: str
    wait: int

    @classmethod
    def read(cls, args: dict[str, Any]) -> Options:
        """Read the arguments of a rulebook. Raises ValueError, whose text says what is wrong."""
        # ansible-rulebook adds its own arguments with this prefix.
        unknown = sorted(name for name in args if name not in _ARGUMENTS and not name.startswith("eda_"))
        if unknown:
            raise ValueError(f"Cannot follow events: there is no argument {', '.join(unknown)}; there are {', '.join(sorted(_ARGUMENTS))}")
        texts = {name: _text(args, name) for name in _ARGUMENTS - {"wait"}}
        options = cls(wait=_wait(args.get("wait", 50)), **{**texts, "after": texts["after"] or "now", "url": texts["url"].rstrip("/")})
        options.require_sound()
        return options

    def require_sound(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("Cannot follow events: url is the address of a node's HTTP shim, such as https://node1.example.com:8080")
        if bool(self.token) == bool(self.token_file):
            raise ValueError("Cannot follow events: give the node's token, either as token or in a token_file")
        if self.after not in _BEGINNINGS and not _CURSOR.fullmatch(self.after):
            raise ValueError("Cannot follow events: after is now, oldest, or a cursor as an event's meta has it")

    def token_now(self) -> str:
        """Return the token. Raises ValueError if there is none."""
        try:
            token = Path(self.token_file).read_text(encoding="utf-8").strip() if self.token_file else self.token
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"Cannot read the token in {self.token_file}: {_reason(error)}") from error
        if not token or not token.isprintable():
            raise ValueError(f"Cannot use {self.token_file or 'token'}: the node's token is one line of text")
        return token


class CursorFile:
    """The file with the cursor of a source; without a path nothing is stored."""

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self) -> str | None:
        """Return the cursor; None if there is none yet. Raises ValueError for other content."""
        if not self._path:
            return None
        try:
            text = Path(self._path).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"Cannot read {self._path}: {_reason(error)}") from error
        if not _CURSOR.fullmatch(text):
            raise ValueError(f"Cannot go on from {self._path}: it has no cursor; remove it to begin as after says")
        return text

    def write(self, cursor: str) -> None:
        """Write the cursor atomically. Raises ValueError after an error."""
        if not self._path:
            return
        try:
            descriptor, fresh = tempfile.mkstemp(prefix=".cursor.", dir=os.path.dirname(self._path) or ".")
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(f"{cursor}\n")
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(fresh, self._path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(fresh)
                raise
            _sync(os.path.dirname(self._path) or ".")
        except OSError as error:
            raise ValueError(f"Cannot write {self._path}: {_reason(error)}; the next events would come again") from error


def _sync(directory: str) -> None:
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(folder)


@dataclass(frozen=True)
class EventPage:
    """One answer of a node: events, the cursor after them, and the events missing before them."""

    cursor: str
    dropped: int
    reset: bool
    events: list[dict[str, Any]]

    @classmethod
    def read(cls, body: bytes) -> EventPage:
        """Read a body. Raises EventsUnavailable for an invalid one."""
        try:
            fields = json.loads(body)
            page = cls(str(fields["cursor"]), int(fields["dropped"]), fields["reset"] is True, list(fields["events"]))
            whole = all(0 < int(event["sequence"]) < _NUMBERS and event["id"] and event["type"] for event in page.events)
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            raise EventsUnavailable("its answer is not one of GET /api/events") from error
        if not whole or not _CURSOR.fullmatch(page.cursor):
            raise EventsUnavailable("its answer is not one of GET /api/events")
        return page

    def entries(self, url: str, before: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the entries for a rulebook, each with the cursor after it; ``before`` is the cursor of the request."""
        outbox = self.cursor.partition(":")[0]
        found = [(f"{outbox}:{int(event['sequence'])}", event) for event in self.events]
        if self.dropped or self.reset:
            found.insert(0, (before, _dropped(self, url, before)))
        return [(cursor, _entry(event, url, cursor)) for cursor, event in found]


class Follower:
    def __init__(self, queue: Any, options: Options) -> None:
        self._queue = queue
        # ansible-rulebook passes a wrapper that filters events.
        self._inner = getattr(queue, "queue", queue)
        self._options = options
        self._file = CursorFile(options.cursor_file)
        self._cursor = ""
        self._was_let_in = False
        self._fault = ""
        self._pauses = _pauses()

    async def run(self) -> None:
        """Follow until cancelled. Raises ValueError, also for a cursor that cannot be written, and Refused at the beginning."""
        self._options.token_now()
        self._cursor = self._file.read() or _BEGINNINGS.get(self._options.after, self._options.after)
        timeout = aiohttp.ClientTimeout(total=self._options.wait + _PATIENCE_SECONDS, connect=_CONNECT_SECONDS)
        # With decompression, a kilobyte may become gigabytes before the size check.
        async with aiohttp.ClientSession(connector=_connector(self._options), timeout=timeout, auto_decompress=False) as session:
            while True:
                page = await self._page(session)
                if page is None:
                    await asyncio.sleep(next(self._pauses))
                else:
                    await self._hand_over(page)

    async def _page(self, session: aiohttp.ClientSession) -> EventPage | None:
        """Return the news; None if the node could not be reached. Raises Refused if no request has succeeded before."""
        asked_at = asyncio.get_running_loop().time()
        try:
            page = await self._ask(session)
        except Refused as error:
            if not self._was_let_in:
                raise
            self._note(str(error))
        except (EventsUnavailable, aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            self._note(_reason(error))
        else:
            self._note("")
            self._pauses = _pauses()
            if not page.events and page.cursor == self._cursor:
                await asyncio.sleep(max(0.0, asked_at + _LEAST_SECONDS - asyncio.get_running_loop().time()))
            return page
        return None

    async def _ask(self, session: aiohttp.ClientSession) -> EventPage:
        # The first request does not wait: its cursor must be known before a kill during a wait could lose events.
        wait = self._options.wait if _CURSOR.fullmatch(self._cursor) else 0
        query = urlencode({"after": self._cursor, "limit": _LIMIT, "wait": wait})
        try:
            token = self._options.token_now()
        except ValueError as error:
            raise EventsUnavailable(str(error)) from error
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "Accept-Encoding": "identity"}
        # A redirect would carry the token elsewhere.
        async with session.get(f"{self._options.url}{_PATH}?{query}", headers=headers, allow_redirects=False) as response:
            if response.status in (401, 403):
                raise Refused(f"Cannot follow events of {self._options.url}: the node does not know this token")
            body = await _body(response)
            if response.status != 200:
                raise EventsUnavailable(_refusal(response.status, body))
        self._was_let_in = True
        return EventPage.read(body)

    async def _hand_over(self, page: EventPage) -> None:
        """Put each event of a page into the queue, and advance the cursor once it is taken."""
        for cursor, entry in page.entries(self._options.url, self._cursor):
            await self._queue.put(entry)
            try:
                await self._taken()
            finally:
                # Also if the rulebook ends now: it must not get a taken event again.
                if self._is_taken():
                    self._stand_behind(cursor)
        self._stand_behind(page.cursor)

    async def _taken(self) -> None:
        for seconds in _LOOK_SECONDS:
            if self._is_taken():
                return
            await asyncio.sleep(seconds)
        while not self._is_taken():
            await asyncio.sleep(_LOOK_SECONDS[-1])

    def _is_taken(self) -> bool:
        return bool(self._inner.empty())

    def _stand_behind(self, cursor: str) -> None:
        if cursor != self._cursor:
            self._file.write(cursor)
            self._cursor = cursor

    def _note(self, fault: str) -> None:
        if fault != self._fault:
            if fault:
                _logger.warning("Cannot follow events of %s: %s; trying again", self._options.url, fault)
            else:
                _logger.warning("Following events of %s again", self._options.url)
            self._fault = fault


async def main(queue: Any, args: dict[str, Any]) -> None:
    """Follow the events of a node, as ansible-rulebook requests it."""
    await Follower(queue, Options.read(args)).run()


def _text(args: dict[str, Any], name: str) -> str:
    value = args.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"Cannot follow events: {name} is a text")
    return value or ""


def _wait(value: object) -> int:
    text = str(value)
    if isinstance(value, bool) or not text.isdecimal() or not 1 <= int(text) <= _LONGEST_WAIT:
        raise ValueError(f"Cannot follow events: wait is a whole number of seconds from 1 to {_LONGEST_WAIT}")
    return int(text)


def _connector(options: Options) -> aiohttp.TCPConnector:
    if not options.ca:
        return aiohttp.TCPConnector()
    try:
        return aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=options.ca))
    except OSError as error:
        raise ValueError(f"Cannot read the certificates in {options.ca}: {_reason(error)}") from error


async def _body(response: aiohttp.ClientResponse) -> bytes:
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise EventsUnavailable(f"its answer is compressed ({_printable(encoding[:60])}), and only plain answers are read")
    parts, size = [], 0
    async for part in response.content.iter_chunked(65536):
        parts.append(part)
        size += len(part)
        if size > _MOST_BYTES:
            response.close()
            raise EventsUnavailable(f"its answer has more than {_MOST_BYTES} bytes")
    return b"".join(parts)


def _refusal(status: int, body: bytes) -> str:
    try:
        said = json.loads(body)["error"]
    except (ValueError, TypeError, KeyError, RecursionError):
        said = ""
    words = " ".join(_printable(str(said)[:1000]).split())[:300]
    return f"it answers {status}{f': {words}' if words else ''}"


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)


def _entry(event: dict[str, Any], url: str, cursor: str) -> dict[str, Any]:
    """Return an event as rules see it; ansible-rulebook reports it by the same id. ansible-rulebook passes each event to its playbook as
    extra variables, and Ansible reads those as templates."""
    return {"payload": _without_templates(event), "meta": {"uuid": event["id"], "url": url, "cursor": cursor}}


def _without_templates(value: Any) -> Any:
    """Return a value with a blank in each beginning of a template: tenants choose the names of servers."""
    if isinstance(value, str):
        return _TEMPLATE.sub(r"\g<0> ", value)
    if isinstance(value, list):
        return [_without_templates(each) for each in value]
    if isinstance(value, dict):
        return {_without_templates(name): _without_templates(each) for name, each in value.items()}
    return value


def _dropped(page: EventPage, url: str, before: str) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"dropped-after-{before}",
        "source": url,
        "type": "events.dropped",
        "datacontenttype": "application/json",
        # After a new outbox, the number is unknown.
        "data": {"count": None if page.reset else page.dropped},
    }


def _pauses() -> Iterator[float]:
    """Yield the pause after each failure in a row, in seconds: longer and longer, with jitter between sources."""
    seconds = _FIRST_PAUSE
    while True:
        yield seconds * random.uniform(0.75, 1.25)
        seconds = min(2 * seconds, _LONGEST_PAUSE)


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "it does not answer"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
