# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The diff of a configuration file for people: before and after, safe for a terminal, secrets masked; pure."""

from __future__ import annotations

import contextlib
import html
import json
import re
from collections.abc import Iterable, Iterator

from ..model.config_rule import ConfigRule
from ..model.redaction import SHORTEST_SECRET, mask
from ..model.result import FileDiff
from ..model.schema import visible
from .rules import ConfigFault

_SHOWN_BYTES = 100 * 1024
#: Text that all formats write unchanged.
_PLAIN = re.compile(r"[A-Za-z0-9_.-]*")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")


def file_diff(path: str, before: bytes, after: bytes, secrets: Iterable[str]) -> FileDiff:
    """Return both texts with ``secrets`` masked and controls escaped; only the sizes above 100 KiB or with NUL bytes."""
    path = visible(path)
    if max(len(before), len(after)) > _SHOWN_BYTES:
        return FileDiff(path, f"({len(before)} bytes, too many to show)\n", f"({len(after)} bytes, too many to show)\n")
    texts = [text.decode("utf-8", "replace") for text in (before, after)]
    if any("\0" in text for text in texts):
        return FileDiff(path, f"({len(before)} bytes that are no text)\n", f"({len(after)} bytes that are no text)\n")
    forms = frozenset(form for secret in secrets for form in _forms(secret))
    return FileDiff(path, *(_for_a_terminal(mask(text, forms)) for text in texts))


def _for_a_terminal(text: str) -> str:
    # A carriage return is safe only in a line end.
    return "\r\n".join(visible(part, "\n\t") for part in text.split("\r\n"))


def _forms(secret: str) -> Iterator[str]:
    # A line holds no line end, and parsers may drop the end of a value.
    for text in (secret, secret.rstrip("\r\n"), secret.strip()):
        for form in _spellings(text) if len(text) >= SHORTEST_SECRET else ():
            yield form
            # Latin-1 and similar encodings, decoded as UTF-8: XML has references for missing characters.
            yield form.encode("latin-1", "xmlcharrefreplace").decode("utf-8", "replace")


def _spellings(secret: str) -> Iterator[str]:
    yield secret
    if _PLAIN.fullmatch(secret):
        return
    yield from _as_written_here(secret)
    quoted = (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    for form in (*quoted, quoted[0].replace("/", "\\/"), secret.replace("\\", "\\\\")):
        yield form
        yield _upper(form)
    yield secret.replace("'", "''")
    for text in (html.escape(secret, quote=False), html.escape(secret), html.escape(secret).replace("&#x27;", "&apos;")):
        for form in (text, text.replace("&quot;", '"'), text.replace("&#x27;", "'").replace("&apos;", "'")):
            # In an attribute all blanks but the space are references, in an element's text a carriage return.
            for spelled in (form, form.replace("\r", "&#13;"), re.sub(r"[\t\r\n]", lambda found: f"&#{ord(found.group())};", form)):
                yield spelled
                yield spelled.encode("ascii", "xmlcharrefreplace").decode()


def _as_written_here(secret: str) -> Iterator[str]:
    from .properties_file import replace_properties
    from .toml_words import string_text
    from .yaml_read import scalar

    yield scalar(secret, style='"')[1:-1]
    # A file cannot hold this secret.
    with contextlib.suppress(ConfigFault):
        yield string_text(secret)[1:-1]
    # Characters beyond ASCII stay unescaped if the file already has some.
    for before in ("", "k=\u00e9\n"):
        with contextlib.suppress(ConfigFault):
            form = replace_properties(before, [ConfigRule("k", secret)]).partition("=")[2].strip("\n")
            # Java's own writer escapes these in values, too.
            yield form
            yield re.sub(r"[=:#!]", r"\\\g<0>", form)


def _upper(text: str) -> str:
    """Return the text with upper-case ``\\uXXXX`` escapes, also for all characters beyond ASCII."""
    units = _BEYOND_ASCII.sub(lambda found: json.dumps(found.group())[1:-1], text)
    return re.sub(r"\\u[0-9a-f]{4}", lambda found: "\\u" + found.group()[2:].upper(), units)
