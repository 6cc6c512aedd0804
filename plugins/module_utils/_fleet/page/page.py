# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of the page, made from its template and its style sheet, which lie beside this file: whatever comes from a run is escaped.

It has no script and loads nothing. Bars are shapes with attributes, so that nothing of a run stands in a style.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..rollout.record import Record
from .view import Shown, view

_HERE = Path(__file__).parent


def page(record: Record, shown: Shown) -> str:
    """Return the page of a run as one text."""
    return str(_template().render(view(record, shown)))


@lru_cache(maxsize=1)
def _template() -> Any:
    # Ansible brings it along.
    from jinja2 import Environment
    from markupsafe import Markup

    style = (_HERE / "page.css").read_text()
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, auto_reload=False)
    # The style sheet is our own. The page allows itself this one alone, by its hash.
    environment.globals.update(style=Markup(style), style_hash=_hash(style))
    return environment.from_string((_HERE / "page.html.j2").read_text())


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
