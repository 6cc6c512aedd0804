# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The signature of a request as Standard Webhooks has it: who has the secret can tell that it is ours, whole and recent; pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"
#: How many bytes of it Standard Webhooks takes for a secret.
_SHORTEST, _LONGEST = 24, 64
EXPECTED = f"{PREFIX} and the base64 of {_SHORTEST} to {_LONGEST} random bytes"

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"


class SecretFault(ValueError):
    """A text that is no secret of Standard Webhooks. The sentence does not show it."""


def key_of(secret: str) -> bytes:
    """Return the bytes that a secret stands for. Raises `SecretFault`."""
    text = secret.strip()
    try:
        key = base64.b64decode(text[len(PREFIX) :], validate=True) if text.startswith(PREFIX) else b""
    except (binascii.Error, ValueError):
        key = b""
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise SecretFault(f"is no secret for signatures, expected {EXPECTED}")
    return key


def headers_of(message: str, seconds: int, body: bytes, key: bytes | None) -> dict[str, str]:
    """Return the headers of a request: which message it is, when it is sent (Unix time) and, with a key, the signature of all three."""
    found = {ID: message, TIMESTAMP: str(seconds)}
    if key is not None:
        signed = b".".join((message.encode(), str(seconds).encode(), body))
        found[SIGNATURE] = f"v1,{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}"
    return found
