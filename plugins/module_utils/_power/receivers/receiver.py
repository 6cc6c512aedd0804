# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The receivers of events: read from rules and files, their filters, their messages, and one POST to each."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Optional
from urllib.parse import urlsplit

from ..definitions.definition import Definition
from ..definitions.receiver_keys import CLOUDEVENTS, DISCORD, ReceiverRule
from ..definitions.selectors import ServerSelector
from ..events import discord, webhook
from ..events.event import Event, EventType
from ..events.webhook import SecretFault, headers_of, key_of
from ..host.own_files import open_own
from ..model.cancellation import CheckCancelled, no_check
from ..model.clock import SYSTEM_CLOCK, Clock
from ..model.errors import SettingsInvalid
from ..model.records import dataclass, field
from ..model.server import Server
from ..sources.web import Web, checked_address, library
from ..sources.web_fault import WebFault

DefinitionOf = Callable[[Server], Optional[Definition]]
_LARGEST_FILE = 8192
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Receiver:
    """A receiver. ``url`` may be secret; ``key`` signs, None for no signature. Empty ``types`` or ``servers`` mean all."""

    name: str
    url: str = field(repr=False)
    key: bytes | None = field(default=None, repr=False)
    format: str = CLOUDEVENTS
    types: frozenset[EventType] = frozenset()
    servers: tuple[ServerSelector, ...] = ()

    def wants(self, event: Event, definition_of: DefinitionOf) -> bool:
        """Tell if it wants an event: with ``servers``, no event of the node. An event of a server without a definition at hand counts."""
        if event.type is EventType.EVENTS_DROPPED:
            return True
        if self.types and event.type not in self.types:
            return False
        if not self.servers or event.server is None:
            return not self.servers
        definition = definition_of(event.server)
        return any(selector.may_select(event.server, definition) for selector in self.servers)


@dataclass(frozen=True)
class WebhookMessage:
    """A message without its time of sending. It holds the first ``events`` of the given ones."""

    id: str
    content_type: str
    body: bytes = field(repr=False)
    events: int

    def headers(self, key: bytes | None, seconds: int) -> dict[str, str]:
        return {"Content-Type": self.content_type, **headers_of(self.id, seconds, self.body, key)}


def message_of(receiver: Receiver, events: Sequence[Event], source: str, name: str) -> WebhookMessage:
    """Return the message with the first events. ``source`` is their origin, see `webhook.node_source`; ``name`` is it for people."""
    if receiver.format == DISCORD:
        return WebhookMessage(events[0].id, discord.CONTENT_TYPE, *discord.discord_message(events, name))
    return WebhookMessage(events[0].id, webhook.CONTENT_TYPE, webhook.cloudevent_body(events[0], source), 1)


def receivers_of(rules: Iterable[ReceiverRule]) -> tuple[Receiver, ...]:
    """Return the receivers of rules. Raises `SettingsInvalid`, which names the receiver and shows neither address nor secret."""
    return tuple(_receiver(rule) for rule in rules)


def _receiver(rule: ReceiverRule) -> Receiver:
    url = (rule.url or _read(rule, "url_file", rule.url_file)).strip()
    secret = rule.secret or (_read(rule, "secret_file", rule.secret_file) if rule.secret_file else "")
    try:
        split_address(url)
        key = key_of(secret) if secret else None
    except WebFault as fault:
        raise _invalid(rule, f"its address cannot be used: {fault}") from None
    except SecretFault as fault:
        raise _invalid(rule, f"its secret {fault}") from None
    return Receiver(rule.name, url, key, rule.format, rule.types, rule.servers)


def _read(rule: ReceiverRule, key: str, path: str) -> str:
    try:
        with open(open_own(path, os.O_RDONLY), "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(_LARGEST_FILE)
    except OSError as error:
        raise _invalid(rule, f"its {key} {path} cannot be read: {error.strerror}") from None
    if mode & _OTHERS:
        raise _invalid(rule, f"its {key} {path} has mode {mode:04o}, so that others may read it; expected 0600")
    try:
        found = text.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        found = ""
    if not found or len(text) == _LARGEST_FILE:
        raise _invalid(rule, f"its {key} {path} holds no line of text")
    return found


def _invalid(rule: ReceiverRule, reason: str) -> SettingsInvalid:
    return SettingsInvalid(f"Cannot send events to receiver {rule.name}: {reason}", receiver=rule.name)


def split_address(url: str) -> tuple[str, str]:
    """Return the address of a receiver's host, and its path and query. Raises `WebFault`, which does not show it, for a bad address."""
    try:
        parts = urlsplit(url.strip())
        base = f"{parts.scheme}://{parts.netloc}"
    except ValueError:
        raise WebFault("that is not an address; expected http://HOST/PATH or https://HOST/PATH", lasting=True) from None
    path = parts.path or "/"
    if not re.fullmatch(r"[\x21-\x7e]*", path + parts.query):
        raise WebFault("its address holds invalid characters", lasting=True)
    return checked_address(base), f"{path}?{parts.query}" if parts.query else path


POST_SECONDS = 10.0
LONGEST_RETRY_AFTER = 3600.0


class Taking(str, Enum):
    """The fate of a message: taken, not taken, or its receiver wants no more."""

    TAKEN = "taken"
    FAILED = "failed"
    GONE = "gone"


@dataclass(frozen=True)
class Posted:
    """The fate of a message, the reason as the end of a sentence, and the pause in seconds that the receiver asks for."""

    taking: Taking
    reason: str = ""
    retry_after: float | None = None


class WebhookClient:
    """Sends messages to a receiver. Keeps its connection. Thread-safe."""

    def __init__(self, receiver: Receiver, clock: Clock = SYSTEM_CLOCK) -> None:
        """Raises `WebFault` for a bad address, `MissingLibrary`."""
        # A missing library fails here, not at each message.
        library()
        self._key = receiver.key
        self._clock = clock
        base, self._path = split_address(receiver.url)
        self._web = Web(base, "", headers={"User-Agent": "fleet.power", "Accept": "*/*"})

    def post(self, message: WebhookMessage, *, seconds: float = POST_SECONDS, check_cancelled: CheckCancelled = no_check) -> Posted:
        """Send a message within ``seconds``; return its fate, without secrets. Raises what ``check_cancelled`` raises."""
        headers = message.headers(self._key, int(self._clock.now().timestamp()))
        try:
            answer = self._web.send(self._path, message.body, headers, seconds=seconds, check_cancelled=check_cancelled)
        except WebFault as fault:
            return Posted(Taking.FAILED, str(fault))
        if 200 <= answer.status < 300:
            return Posted(Taking.TAKEN)
        reason = f"it answered with status {answer.status}"
        if answer.status == 410:
            return Posted(Taking.GONE, reason)
        return Posted(Taking.FAILED, reason, retry_after(answer.headers.get("retry-after", ""), self._clock.now()))

    def close(self) -> None:
        self._web.close()


def retry_after(text: str, now: datetime) -> float | None:
    """Return the pause in seconds that ``Retry-After`` asks for, at most an hour; None without one."""
    text = text.strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII):
        seconds = float(text)
    else:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or timezone.utc) - now).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)
