# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages to players: one line of plain text, from any input; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..model.schema import CUT

#: Characters of a message and of each value in it: a long reason must not push out the time.
LONGEST_MESSAGE = 200
_LONGEST_VALUE = 100
_MOST_READ = 4000
_PLACEHOLDER = re.compile(r"\{(time|action|reason|server)\}")
#: Terminal commands: of many letters; a title or link up to its end or the end of the text; of one letter.
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\|\Z)|[@-~])|\x9b[0-?]*[ -/]*[@-~]?")
#: Minecraft's codes for colours and styles.
_STYLE = re.compile("\u00a7[0-9A-FK-ORXa-fk-orx]?")
#: In consoles, semicolons separate commands, quotation marks quote, backslashes escape, $ precedes a variable and @ a player.
_CONSOLE = {";": ",", '"': "'", "\\": "/", "@": "(at)"}
_CONSOLE_CHARACTERS = re.compile(r'[;"\\]|@(?=[A-Za-z])')
_LOOKED_UP = re.compile(r"\$(?![0-9 ]|\Z)")

_MINUTE, _HOUR = 60, 3600


def clean(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """Return a text as one line without escapes, styles, direction or invisible characters, and with single blanks."""
    text = _STYLE.sub("", _ESCAPE.sub("", text[:_MOST_READ]))
    line = " ".join("".join(character if character.isprintable() else _instead(character) for character in text).split())
    return line if len(line) <= longest else line[: longest - len(CUT)].rstrip() + CUT


def _instead(character: str) -> str:
    # Unprintable blanks and controls separate words; direction marks, surrogates and the like do not.
    return " " if character.isspace() or character < "\u00a0" else ""


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return a template with each ``{time}``, ``{action}``, ``{reason}`` and ``{server}`` replaced once."""
    text = _PLACEHOLDER.sub(lambda found: clean(values.get(found[1], ""), _LONGEST_VALUE), template[:_MOST_READ])
    return clean(text)


def spoken_time(seconds: int) -> str:
    """Return a time in words: the two largest units; only seconds below two minutes."""
    if seconds < 2 * _MINUTE and seconds != _MINUTE:
        return _counted(seconds, "second")
    if seconds < 2 * _HOUR and seconds != _HOUR:
        return _in_units(seconds, _MINUTE, "minute", "second")
    return _in_units(seconds // _MINUTE, _HOUR // _MINUTE, "hour", "minute")


def _in_units(amount: int, size: int, large: str, small: str) -> str:
    whole, rest = divmod(amount, size)
    return f"{_counted(whole, large)} {_counted(rest, small)}" if rest else _counted(whole, large)


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def for_console(text: str) -> str:
    """Return a message as the argument of a console command: it cannot end the command, use variables or name players."""
    # The first replacement can join its neighbours to a new pattern.
    line = _LOOKED_UP.sub("", clean(text))
    return clean(_CONSOLE_CHARACTERS.sub(lambda found: _CONSOLE[found[0]], line))


def for_word(text: str) -> str:
    """Return a message as one word of a command line that no program takes for an option."""
    return clean(text).lstrip("-/ ")
