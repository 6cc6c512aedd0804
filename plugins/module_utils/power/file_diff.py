# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of a configuration file, for people to see: its text before and after, with secrets masked however they are written."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator

from .definition import mask
from .model import FileDiff

#: Bytes of a text that are shown; nobody reads more.
_SHOWN_BYTES = 100 * 1024
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")


def file_diff(path: str, before: bytes, after: bytes, secrets: Iterable[str]) -> FileDiff:
    """Both texts with ``secrets`` masked; of a file of more than 100 KiB, and of one with NUL bytes, only that it differs."""
    if max(len(before), len(after)) > _SHOWN_BYTES:
        return FileDiff(path, f"({len(before)} bytes, too many to show)\n", f"({len(after)} bytes, too many to show)\n")
    texts = [text.decode("utf-8", "replace") for text in (before, after)]
    if any("\0" in text for text in texts):
        return FileDiff(path, f"({len(before)} bytes that are no text)\n", f"({len(after)} bytes that are no text)\n")
    forms = frozenset(form for secret in secrets for form in _forms(secret))
    return FileDiff(path, mask(texts[0], forms), mask(texts[1], forms))


def _forms(secret: str) -> Iterator[str]:
    """A secret as the formats of configuration files write it: as it is, or with what is special there escaped."""
    yield secret
    quoted = (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    for form in (*quoted, quoted[0].replace("/", "\\/"), secret.replace("\\", "\\\\")):
        yield form
        yield _upper(form)
        # Java's way, with and without what only its own writer escapes.
        plain = _upper(form).replace('\\"', '"')
        yield plain
        yield re.sub(r"[=:#!]", r"\\\g<0>", plain)
    yield secret.replace("'", "''")
    for text in (html.escape(secret, quote=False), html.escape(secret), html.escape(secret).replace("&#x27;", "&apos;")):
        yield text
        yield text.replace("&quot;", '"')
        yield text.replace("&#x27;", "'").replace("&apos;", "'")


def _upper(text: str) -> str:
    """The ``\\uXXXX`` of a text with upper-case digits; what is not ASCII is written so, too."""
    units = _BEYOND_ASCII.sub(lambda found: json.dumps(found.group())[1:-1], text)
    return re.sub(r"\\u[0-9a-f]{4}", lambda found: "\\u" + found.group()[2:].upper(), units)
