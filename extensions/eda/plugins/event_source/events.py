# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An event source for ansible-rulebook: follows the events of a node over its HTTP face, from a cursor on.

It stands alone, in one file: ansible-rulebook runs it by its path, and brings aiohttp along.
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
  - Reads what happens on a node from C(GET /api/events) of its HTTP face, as soon as it happens, one event after the other, in their order.
  - Each is a CloudEvent in C(event.payload), the same that receivers get, so that there are C(event.payload.type) and
    C(event.payload.data.server.name). C(event.meta.cursor) says where it stands.
  - A node or a rulebook that is away for a while misses nothing, as long as the node keeps what has happened, which are 10,000 events of a
    day. Of what it kept no longer an event of type V(events.dropped) tells, with C(data.count), V(null) where nobody can tell how many.
  - With O(cursor_file) a rulebook goes on where it was. What ansible-rulebook has taken is not told again, unless it was killed, or the
    machine lost its power, right then. The last event may come twice after that, with the same C(event.payload.id).
  - No text of an event is a template. Where one would begin it has a blank, such as C({ {).
  - What ansible-rulebook has taken and not yet acted on is lost when it is killed. It keeps no event itself.
options:
  url:
    description: Address of the node's HTTP face.
    type: str
    required: true
  token:
    description: The node's token, the setting V(token). Either this or O(token_file).
    type: str
  token_file:
    description: File with that token. It is read anew at each request.
    type: path
  cursor_file:
    description:
      - File in which it keeps how far it has come, one a source. Its directory has to be there.
      - Without it a rulebook that begins anew begins as O(after) says.
    type: path
  after:
    description:
      - Where it begins without O(cursor_file), or with one that is not there yet. V(now), what happens from now on; V(oldest), all that the
        node has kept; or a cursor, as C(event.meta.cursor) has it.
    type: str
    default: now
  ca:
    description: File with the certificates that sign the node's. Without it those that the system trusts.
    type: path
  wait:
    description: How many seconds one request waits for an event, 1 to 60.
    type: int
    default: 50
"""

EXAMPLES = r"""
- name: Mind one node
  hosts: all
  sources:
    - name: node_1
      fleet.power.events:
        url: https://node1.example.com:8080
        token_file: /etc/ansible-rulebook/node1.token
        cursor_file: /var/lib/ansible-rulebook/node1.cursor
  rules:
    - name: Say that a server was given up
      condition: event.payload.type == "server.crash_loop"
      action:
        debug:
          msg: "{{ event.payload.data.server.name }} has crashed {{ event.payload.data.consecutive_crashes }} times in a row"
"""

_logger = logging.getLogger(__name__)

_ARGUMENTS = {"url", "token", "token_file", "cursor_file", "after", "ca", "wait"}
_CURSOR = re.compile(r"(?P<outbox>[0-9A-Za-z-]{1,64}):(?P<number>[0-9]{1,18})")
#: The beginning of a template: two characters, or the line that says which they are.
_TEMPLATE = re.compile(r"\{(?=[{%#])|\A#(?=jinja2:)")
#: Of events; a place behind a greater one could be kept, and not read again.
_NUMBERS = 10**18
_BEGINNINGS = {"now": "now", "oldest": ""}
_PATH = "/api/events"
_LIMIT = 100
_LONGEST_WAIT = 60
_CONNECT_SECONDS = 10
#: Beyond the wait that was asked for.
_PATIENCE_SECONDS = 30
#: Bytes of one answer. A page has 100 events.
_MOST_BYTES = 16 * 1024 * 1024
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
#: A node that has nothing new is not asked again before this, however soon it has said so.
_LEAST_SECONDS = 1.0
#: Looks whether ansible-rulebook has taken an event: soon, since it mostly has, then more seldom.
_LOOK_SECONDS = (0.0, 0.0, 0.001, 0.005, 0.02)


class Refused(Exception):
    """The node does not let us in."""


class NotTold(Exception):
    """The node could not be asked, or gave no answer that can be used."""


@dataclass(frozen=True)
class Options:
    """What the source was given."""

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
        # ansible-rulebook adds some of its own, which begin so.
        unknown = sorted(name for name in args if name not in _ARGUMENTS and not name.startswith("eda_"))
        if unknown:
            raise ValueError(f"Cannot follow events: there is no argument {', '.join(unknown)}; there are {', '.join(sorted(_ARGUMENTS))}")
        texts = {name: _text(args, name) for name in _ARGUMENTS - {"wait"}}
        options = cls(wait=_wait(args.get("wait", 50)), **{**texts, "after": texts["after"] or "now", "url": texts["url"].rstrip("/")})
        options.require_sound()
        return options

    def require_sound(self) -> None:
        """Raise ValueError where arguments cannot be used."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("Cannot follow events: url is the address of a node's HTTP face, such as https://node1.example.com:8080")
        if bool(self.token) == bool(self.token_file):
            raise ValueError("Cannot follow events: give the node's token, either as token or in a token_file")
        if self.after not in _BEGINNINGS and not _CURSOR.fullmatch(self.after):
            raise ValueError("Cannot follow events: after is now, oldest, or a cursor as an event's meta has it")

    def token_now(self) -> str:
        """Return the token. Raises ValueError where there is none."""
        try:
            token = Path(self.token_file).read_text(encoding="utf-8").strip() if self.token_file else self.token
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"Cannot read the token in {self.token_file}: {_reason(error)}") from error
        if not token or not token.isprintable():
            raise ValueError(f"Cannot use {self.token_file or 'token'}: the node's token is one line of text")
        return token


class CursorFile:
    """The file that says behind which event a source stands; without a path it is kept nowhere."""

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self) -> str | None:
        """Return the cursor; None if there is none yet. Raises ValueError where the file has something else."""
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
        """Have the file say this cursor, whole whenever somebody reads it. Raises ValueError where it cannot be written."""
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
            raise ValueError(f"Cannot write {self._path}: {_reason(error)}; what is told next would be told again") from error


def _sync(directory: str) -> None:
    """Put the names in a directory on the disk. Raises OSError."""
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    except OSError as error:
        # Some file systems cannot sync a directory, and say that this is no such file.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(folder)


@dataclass(frozen=True)
class EventPage:
    """One answer of a node: events, the cursor behind them, and what is missing before them."""

    cursor: str
    dropped: int
    reset: bool
    events: list[dict[str, Any]]

    @classmethod
    def read(cls, body: bytes) -> EventPage:
        """Read a body. Raises NotTold where it is no answer to what was asked."""
        try:
            told = json.loads(body)
            page = cls(str(told["cursor"]), int(told["dropped"]), told["reset"] is True, list(told["events"]))
            whole = all(0 < int(event["sequence"]) < _NUMBERS and event["id"] and event["type"] for event in page.events)
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            raise NotTold("its answer is none of GET /api/events") from error
        if not whole or not _CURSOR.fullmatch(page.cursor):
            raise NotTold("its answer is none of GET /api/events")
        return page

    def told(self, url: str, before: str) -> list[tuple[str, dict[str, Any]]]:
        """Return what a rulebook is told, each with the cursor behind it; ``before`` is the cursor that it was asked from."""
        outbox = self.cursor.partition(":")[0]
        told = [(f"{outbox}:{int(event['sequence'])}", event) for event in self.events]
        if self.dropped or self.reset:
            told.insert(0, (before, _dropped(self, url, before)))
        return [(cursor, _entry(event, url, cursor)) for cursor, event in told]


class Follower:
    """One source of a rulebook."""

    def __init__(self, queue: Any, options: Options) -> None:
        self._queue = queue
        # ansible-rulebook hands over a wrapper that filters what is put.
        self._inner = getattr(queue, "queue", queue)
        self._options = options
        self._file = CursorFile(options.cursor_file)
        self._cursor = ""
        self._was_let_in = False
        self._fault = ""
        self._pauses = _pauses()

    async def run(self) -> None:
        """Follow until it is cancelled. Raises ValueError, Refused where that cannot begin, ValueError where the cursor cannot be kept."""
        self._options.token_now()
        self._cursor = self._file.read() or _BEGINNINGS.get(self._options.after, self._options.after)
        timeout = aiohttp.ClientTimeout(total=self._options.wait + _PATIENCE_SECONDS, connect=_CONNECT_SECONDS)
        # A kilobyte that is decompressed may become gigabytes before they are counted.
        async with aiohttp.ClientSession(connector=_connector(self._options), timeout=timeout, auto_decompress=False) as session:
            while True:
                page = await self._page(session)
                if page is None:
                    await asyncio.sleep(next(self._pauses))
                else:
                    await self._hand_over(page)

    async def _page(self, session: aiohttp.ClientSession) -> EventPage | None:
        """Return what is new; None if the node could not be asked. Raises Refused if it has never let us in."""
        asked_at = asyncio.get_running_loop().time()
        try:
            page = await self._ask(session)
        except Refused as error:
            if not self._was_let_in:
                raise
            self._note(str(error))
        except (NotTold, aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            self._note(_reason(error))
        else:
            self._note("")
            self._pauses = _pauses()
            if not page.events and page.cursor == self._cursor:
                await asyncio.sleep(max(0.0, asked_at + _LEAST_SECONDS - asyncio.get_running_loop().time()))
            return page
        return None

    async def _ask(self, session: aiohttp.ClientSession) -> EventPage:
        # Where it begins is to be known at once: what happens while it waits is not to be missed should it be killed meanwhile.
        wait = self._options.wait if _CURSOR.fullmatch(self._cursor) else 0
        query = urlencode({"after": self._cursor, "limit": _LIMIT, "wait": wait})
        try:
            token = self._options.token_now()
        except ValueError as error:
            raise NotTold(str(error)) from error
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "Accept-Encoding": "identity"}
        # A redirect would carry the token elsewhere.
        async with session.get(f"{self._options.url}{_PATH}?{query}", headers=headers, allow_redirects=False) as response:
            if response.status in (401, 403):
                raise Refused(f"Cannot follow events of {self._options.url}: the node does not know this token")
            body = await _body(response)
            if response.status != 200:
                raise NotTold(_refusal(response.status, body))
        self._was_let_in = True
        return EventPage.read(body)

    async def _hand_over(self, page: EventPage) -> None:
        """Put each event of a page into the queue, and stand behind it once it has been taken."""
        for cursor, entry in page.told(self._options.url, self._cursor):
            await self._queue.put(entry)
            try:
                await self._taken()
            finally:
                # Also when the rulebook ends just now: what it has taken is not to be told again.
                if self._is_taken():
                    self._stand_behind(cursor)
        self._stand_behind(page.cursor)

    async def _taken(self) -> None:
        """Wait until ansible-rulebook has taken all that is in the queue."""
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
        """Log that the node cannot be followed, why, and that it can again; each once."""
        if fault != self._fault:
            if fault:
                _logger.warning("Cannot follow events of %s: %s; trying again", self._options.url, fault)
            else:
                _logger.warning("Following events of %s again", self._options.url)
            self._fault = fault


async def main(queue: Any, args: dict[str, Any]) -> None:
    """Follow the events of a node, as ansible-rulebook asks for it."""
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
        raise NotTold(f"its answer is compressed ({_printable(encoding[:60])}), and only plain answers are read")
    parts, size = [], 0
    async for part in response.content.iter_chunked(65536):
        parts.append(part)
        size += len(part)
        if size > _MOST_BYTES:
            response.close()
            raise NotTold(f"its answer has more than {_MOST_BYTES} bytes")
    return b"".join(parts)


def _refusal(status: int, body: bytes) -> str:
    """Return why an answer has none of what was asked, in the node's own words where it has some."""
    try:
        said = json.loads(body)["error"]
    except (ValueError, TypeError, KeyError, RecursionError):
        said = ""
    words = " ".join(_printable(str(said)[:1000]).split())[:300]
    return f"it answers {status}{f': {words}' if words else ''}"


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)


def _entry(event: dict[str, Any], url: str, cursor: str) -> dict[str, Any]:
    """Return an event as rules see it. Its id is also that by which ansible-rulebook reports it.

    ansible-rulebook gives each event to the playbook that it runs, as extra variables, which Ansible takes for templates.
    """
    return {"payload": _without_templates(event), "meta": {"uuid": event["id"], "url": url, "cursor": cursor}}


def _without_templates(value: Any) -> Any:
    """Return a value with a blank within each beginning of a template: a server's owner chose its name."""
    if isinstance(value, str):
        return _TEMPLATE.sub(r"\g<0> ", value)
    if isinstance(value, list):
        return [_without_templates(each) for each in value]
    if isinstance(value, dict):
        return {_without_templates(name): _without_templates(each) for name, each in value.items()}
    return value


def _dropped(page: EventPage, url: str, before: str) -> dict[str, Any]:
    """Return an event that tells of those that had gone before they could be read."""
    return {
        "specversion": "1.0",
        "id": f"dropped-after-{before}",
        "source": url,
        "type": "events.dropped",
        "datacontenttype": "application/json",
        # Of events that were begun anew nobody knows how many there had been.
        "data": {"count": None if page.reset else page.dropped},
    }


def _pauses() -> Iterator[float]:
    """Yield how long to pause after each failure in a row: longer and longer, and not all sources at the same moment."""
    seconds = _FIRST_PAUSE
    while True:
        yield seconds * random.uniform(0.75, 1.25)
        seconds = min(2 * seconds, _LONGEST_PAUSE)


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "it does not answer"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
