# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An option of users, declared once for all that read it; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .errors import SettingsInvalid
from .records import dataclass
from .schema import did_you_mean, printable


@dataclass(frozen=True)
class Option:
    #: A type of argument specs: str, int, float, bool, path, list or dict.
    type: str
    #: None if other code sets the default.
    default: Any = None
    least: int | None = None
    most: int | None = None
    choices: tuple[str, ...] = ()
    elements: str = ""
    aliases: tuple[str, ...] = ()
    required: bool = False
    #: Whether its value is masked; None: the option's name decides.
    no_log: bool | None = None

    def holds(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    @property
    def limit(self) -> str:
        """The bounds in words, as in "expected a whole number of at least 0"."""
        return f"of at least {self.least}" if self.most is None else f"from {self.least} to {self.most}"

    def argument(self) -> dict[str, Any]:
        properties = {
            "default": self.default,
            "choices": list(self.choices) or None,
            "elements": self.elements or None,
            "aliases": list(self.aliases) or None,
            "required": self.required or None,
            "no_log": self.no_log,
        }
        return {"type": self.type, **{key: value for key, value in properties.items() if value is not None}}


def argument_spec(options: Mapping[str, Option]) -> dict[str, dict[str, Any]]:
    return {name: option.argument() for name, option in options.items()}


def refuse_unknown(given: Sequence[str], known: Sequence[str], what: str) -> None:
    """Raise `SettingsInvalid` for an unknown name: otherwise a misspelt key would silently lose servers."""
    for name in given:
        if name not in known:
            hint = did_you_mean(str(name), known) or f"; there are {', '.join(known)}"
            raise SettingsInvalid(f"Cannot use {what}: there is no {printable(str(name))}{hint}")
