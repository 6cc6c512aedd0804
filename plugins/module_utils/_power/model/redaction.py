# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Redaction removes secrets from text that people or files get; pure.

Users see two masks, so both stay. Eight stars replace secrets in server output, files and answers of endpoints: scripts search for them.
Three stars replace our own credentials in messages about a connection, which have a limited length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from .schema import CUT, blanked, one_line

_SECRET_MASK = "********"
_CREDENTIAL_MASK = "***"

#: Shorter values occur everywhere: their masks would make text unreadable.
SHORTEST_SECRET = 6


def secrets_in(values: Iterable[str]) -> frozenset[str]:
    """Return the possible secrets of an environment's values: each value and each of its lines, from 6 characters."""
    texts = {text for value in values for text in (value, *(line.strip() for line in value.splitlines()))}
    return frozenset(text for text in texts if len(text) >= SHORTEST_SECRET)


def mask(text: str, secrets: Iterable[str]) -> str:
    """Replace each part of a text that secrets cover by eight stars; overlapping parts become one."""
    spans = sorted(span for secret in secrets if secret and secret in text for span in _spans(text, secret))
    pieces, position = [], 0
    for start, end in spans:
        if start >= position:
            pieces += [text[position:start], _SECRET_MASK]
        position = max(position, end)
    return "".join((*pieces, text[position:]))


def mask_line(line: str, secrets: Iterable[str]) -> str:
    """Mask secrets in a line of `one_line`; if it cut the line, also the beginning of a secret before the cut."""
    shown = {form for secret in secrets for form in (secret, one_line(secret, len(secret)))}
    if not line.endswith(CUT):
        return mask(line, shown)
    whole = mask(line[: -len(CUT)], shown)
    sizes = (size for secret in shown for size in range(min(len(secret), len(whole)), 0, -1) if whole.endswith(secret[:size]))
    return whole[: len(whole) - max(sizes, default=0)] + CUT


def _spans(text: str, secret: str) -> Iterator[tuple[int, int]]:
    borders = _borders(secret)
    start = text.find(secret)
    while start >= 0:
        end = position = start + len(secret)
        matched = borders[-1]
        # ``matched`` characters before ``position`` begin another occurrence, which could overlap.
        while position - matched < end and position < len(text):
            while matched and text[position] != secret[matched]:
                matched = borders[matched - 1]
            matched += text[position] == secret[matched]
            position += 1
            if matched == len(secret):
                end, matched = position, borders[-1]
        yield start, end
        start = text.find(secret, end)


def _borders(text: str) -> list[int]:
    """For each prefix, count the characters of its longest proper prefix that is also its suffix."""
    borders, length = [0], 0
    for character in text[1:]:
        while length and character != text[length]:
            length = borders[length - 1]
        length += character == text[length]
        borders.append(length)
    return borders


class TokenMask:
    """Masks an Authorization header's value, and the part after its first dot: the secret of a named token."""

    def __init__(self, authorization: str) -> None:
        whole = authorization.partition(" ")[2].strip() or authorization
        # The longer first: it contains the other.
        self._secrets = [secret for secret in (whole, whole.partition(".")[2]) if len(secret) >= SHORTEST_SECRET]
        self._pattern = re.compile("|".join(re.escape(secret) for secret in self._secrets) or r"(?!)", re.IGNORECASE)

    def text(self, text: str, *, is_cut: bool = False) -> str:
        """Return the text without the secrets, in any case. ``is_cut``: the text may end inside a secret."""
        masked = self._pattern.sub(_CREDENTIAL_MASK, text)
        longest = max((self._cut(masked, secret) for secret in self._secrets), default=0) if is_cut else 0
        return masked[: len(masked) - longest]

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(each) for each in value]
        if isinstance(value, dict):
            return {self.text(key): self.value(each) for key, each in value.items()}
        return value

    def _cut(self, text: str, secret: str) -> int:
        return next((size for size in range(len(secret) - 1, 0, -1) if text.lower().endswith(secret[:size].lower())), 0)


def without_user(text: str, host: str) -> str:
    """Return a library's text without the user and password of an engine's address."""
    user = _user_of(host)
    text = text.replace(f"{user}@", "") if user else text
    for secret in (user, user.partition(":")[2]):
        text = text.replace(secret, _CREDENTIAL_MASK) if len(secret) >= SHORTEST_SECRET else text
    return text


def shown_host(host: str) -> str:
    user = _user_of(host)
    return host.replace(f"{user}@", "", 1) if user else host


def _user_of(host: str) -> str:
    scheme, found, rest = host.partition("://")
    return "" if scheme == "unix" else (rest if found else host).rpartition("@")[0]


def shown_address(base: str) -> str:
    """Return an HTTP address for a message: without user, password, query and unprintable characters."""
    scheme, found, rest = base.partition("://")
    # The last @ first: an unescaped password may contain the others.
    rest = (rest if found else scheme).rpartition("@")[2].partition("?")[0].partition("#")[0]
    address = (scheme + found if found else "") + rest
    return blanked(address, "?")[:200]
