# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of the settings for receivers of events, and their rules; pure."""

from __future__ import annotations

import re

from ..events.event import EventType
from ..model.records import dataclass, field
from ..model.schema import REQUIRED, Gathered, KeyLocation, KeySpec, Mismatch, ValueType, read_keys
from .kinds import ABSOLUTE_PATH, FILLED_TEXT, list_of, one_of, text_that
from .selectors import EGG_KEY, LABEL_KEY, SERVER_KEY, ServerSelector, take_selector

CLOUDEVENTS, DISCORD = "cloudevents", "discord"
FORMATS = (CLOUDEVENTS, DISCORD)
#: The name becomes part of file names and rows of tables.
_NAME = text_that("a name of at most 64 letters, digits, _, . and -", re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}").fullmatch)
_SELECTORS = (SERVER_KEY, EGG_KEY, LABEL_KEY)


@dataclass(frozen=True)
class ReceiverRule:
    """A receiver: one of ``url`` and ``url_file``, at most one of ``secret`` and ``secret_file``."""

    name: str
    url: str = field(default="", repr=False)
    url_file: str = ""
    secret: str = field(default="", repr=False)
    secret_file: str = ""
    format: str = CLOUDEVENTS
    types: frozenset[EventType] = frozenset()
    servers: tuple[ServerSelector, ...] = ()


_TYPE = one_of(*(each.value for each in EventType))
_SELECTOR = ValueType(
    "a map that says which servers",
    lambda value, place: take_selector(read_keys(value, _SELECTORS, place).complete(_SELECTORS), _SELECTORS, place),
    _SELECTORS,
)
_SERVERS = list_of(_SELECTOR, "a list of maps that say which servers")

RECEIVER_KEYS = (
    KeySpec("name", _NAME, REQUIRED, "Unique name of the receiver"),
    KeySpec("url", FILLED_TEXT, "", "Address, http or https; or `url_file`", secret=True),
    KeySpec("url_file", ABSOLUTE_PATH, "", "File with a secret address; mode 0600"),
    KeySpec("secret_file", ABSOLUTE_PATH, "", "File with the secret for signatures, `whsec_...`; mode 0600; unset: no signature"),
    KeySpec("format", one_of(*FORMATS), CLOUDEVENTS, "`cloudevents` for programs, or `discord` for people"),
    KeySpec("types", list_of(_TYPE, "a list of types of events"), (), "Types of events to send; empty: all"),
    KeySpec("servers", _SERVERS, (), "Servers whose events to send; empty: all"),
)
#: If the text is not in a file that others may read, it may contain the secret itself.
_WITH_SECRET = (*RECEIVER_KEYS, KeySpec("secret", FILLED_TEXT, "", "The secret, instead of `secret_file`", secret=True))


def _rule(value: object, place: KeyLocation, keys: tuple[KeySpec, ...]) -> ReceiverRule:
    given = read_keys(value, keys, place).complete(keys)
    for one, other, needed in (("url", "url_file", True), ("secret", "secret_file", False)):
        count = bool(given.get(one)) + bool(given[other])
        if count > 1 or (needed and not count):
            raise Mismatch(place.key, f"has {'both' if count else 'neither'} of {one} and {other}, expected one of them")
    if given["format"] == DISCORD and (given["secret_file"] or given.get("secret")):
        raise Mismatch(place.key, "has a secret, expected none with format discord")
    return ReceiverRule(**{**given, "types": frozenset(map(EventType, given["types"]))})


def _receivers(value: object, place: KeyLocation, keys: tuple[KeySpec, ...] = RECEIVER_KEYS) -> tuple[ReceiverRule, ...]:
    receiver = ValueType("a receiver", lambda item, at: _rule(item, at, keys))
    known, gathered = len(place.unknown), Gathered()
    found: tuple[ReceiverRule, ...] = gathered.read(list_of(receiver, _RULES.words).read, value, place) or ()
    # An ignored misspelt key could send too many events, or unsigned ones.
    gathered.note(*place.take_unknown(known, "a receiver"))
    names = [rule.name for rule in found]
    for index, name in enumerate(names):
        if name in names[:index]:
            key = place.item(index).entry("name").key
            gathered.note(Mismatch(key, f"is {name} again, expected a name that no other receiver has"))
    gathered.end()
    return found


_RULES = ValueType("a list of receivers", _receivers, RECEIVER_KEYS)
RECEIVERS = "events.receivers"
EVENT_KEYS = (
    KeySpec("events.node", FILLED_TEXT, None, "Name of the node in events; unset: its host name", "event_node"),
    KeySpec(RECEIVERS, _RULES, (), "Receivers of events", "event_receivers"),
)


def read_receiver_rules(raw: object, key: str) -> tuple[ReceiverRule, ...]:
    """Read a list of receivers from outside the settings, with secrets allowed. Raises `Mismatch`."""
    return _receivers(raw, KeyLocation(key, []), _WITH_SECRET)
