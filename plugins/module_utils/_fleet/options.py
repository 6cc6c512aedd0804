# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that a whole run may give to both modules, as in ``power_options``: those that say where things are, none of acting; pure."""

from __future__ import annotations

from collections.abc import Iterable

from .._power.options import SHARED_OPTIONS


def options_fault(variable: str, given: Iterable[object]) -> str | None:
    """Why options must not be given in ``variable``, as a sentence; None if all may. ``given`` are their names, or a map with these."""
    if isinstance(given, (str, bytes)):
        return f"Cannot use {variable}: it is text; give a map of options"
    aliases = {alias for option in SHARED_OPTIONS.values() for alias in option.aliases}
    wrong = sorted({str(name) for name in given} - {*SHARED_OPTIONS, *aliases})
    if not wrong:
        return None
    return f"Cannot use {', '.join(wrong)} in {variable}: only what looking and acting share may stand there: {', '.join(SHARED_OPTIONS)}"
