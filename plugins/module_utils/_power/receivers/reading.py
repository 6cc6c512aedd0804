# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From rules to receivers: addresses and secrets are read from files that nobody else may read, and held against what they must be."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from ..definitions.receiver_keys import ReceiverRule
from ..events.signature import SecretFault, key_of
from ..host.own_files import open_own
from ..model.errors import SettingsInvalid
from ..sources.web_answers import WebFault
from .receiver import Receiver
from .webhook_client import check_address

#: More than any address or secret has.
_LARGEST_FILE = 8192
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def receivers_of(rules: Iterable[ReceiverRule]) -> tuple[Receiver, ...]:
    """Return the receivers that rules mean. Raises `SettingsInvalid`, which names the receiver and shows neither address nor secret."""
    return tuple(_receiver(rule) for rule in rules)


def _receiver(rule: ReceiverRule) -> Receiver:
    url = (rule.url or _read(rule, "url_file", rule.url_file)).strip()
    secret = rule.secret or (_read(rule, "secret_file", rule.secret_file) if rule.secret_file else "")
    try:
        check_address(url)
        key = key_of(secret) if secret else None
    except WebFault as fault:
        raise _invalid(rule, f"its address cannot be used: {fault}") from None
    except SecretFault as fault:
        raise _invalid(rule, f"its secret {fault}") from None
    return Receiver(rule.name, url, key, rule.format, rule.types, rule.servers)


def _read(rule: ReceiverRule, key: str, path: str) -> str:
    try:
        descriptor = open_own(path, os.O_RDONLY)
        try:
            mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
            text = os.read(descriptor, _LARGEST_FILE)
        finally:
            os.close(descriptor)
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
    return SettingsInvalid(f"Cannot tell events to receiver {rule.name}: {reason}", receiver=rule.name)
