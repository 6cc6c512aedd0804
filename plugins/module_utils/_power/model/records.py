# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data classes that import quickly: ``__init__`` is compiled for each class, and the other methods are the same for all.

The standard decorator compiles six methods for each class, a third of a call's imports. Only the type checker guards a frozen instance.
"""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, astuple, field, fields, replace
from typing import TYPE_CHECKING, Any

__all__ = ("asdict", "astuple", "dataclass", "field", "fields", "replace")

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls: Any = None, *, frozen: bool = False, eq: bool = True, repr: bool = True) -> Any:
        if cls is None:
            return lambda each: dataclass(each, frozen=frozen, eq=eq, repr=repr)
        if eq:
            cls.__eq__, cls.__hash__ = _equals, _hash if frozen else None
        if repr:
            cls.__repr__ = _text
        return dataclasses.dataclass(eq=False, repr=False)(cls)


def _values(record: Any) -> tuple[Any, ...]:
    return tuple(getattr(record, each.name) for each in fields(record) if each.compare)


def _equals(record: Any, other: object) -> bool:
    return _values(record) == _values(other) if other.__class__ is record.__class__ else NotImplemented


def _hash(record: Any) -> int:
    return hash(_values(record))


def _text(record: Any) -> str:
    shown = ", ".join(f"{each.name}={getattr(record, each.name)!r}" for each in fields(record) if each.repr)
    return f"{type(record).__qualname__}({shown})"
