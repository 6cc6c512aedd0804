# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of templates as plain ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def plain_value(value: Any) -> Any:
    """A value as nothing but Python's own types: those of a template are more than JSON and files should see."""
    if isinstance(value, Mapping):
        return {str.__str__(str(key)): plain_value(each) for key, each in value.items()}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Sequence):
        return [plain_value(each) for each in value]
    return value
