# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What players are told: one line of plain text, whatever it was made from; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..model.schema import CUT

#: Characters of a message, and of each value in it, so that a long reason does not push out the time.
LONGEST_MESSAGE = 200
_LONGEST_VALUE = 100
#: What is read of a text, however long it is.
_MOST_READ = 4000
_PLACEHOLDER = re.compile(r"\{(time|action|reason|server)\}")
#: What terminals take for a command: one of many letters, a title or link to its end or that of the text, or of one letter.
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\|\Z)|[@-~])|\x9b[0-?]*[ -/]*[@-~]?")
#: What Minecraft takes for a colour or a style.
_STYLE = re.compile("\u00a7[0-9A-FK-ORXa-fk-orx]?")
#: Consoles part commands at a semicolon, quote by a quotation mark, escape by a backslash, put in the value of what follows a dollar, and
#: name players by what follows an at sign.
_CONSOLE = {";": ",", '"': "'", "\\": "/", "@": "(at)"}
_CONSOLE_CHARACTERS = re.compile(r'[;"\\]|@(?=[A-Za-z])')
_LOOKED_UP = re.compile(r"\$(?![0-9 ]|\Z)")

_MINUTE, _HOUR = 60, 3600


def clean(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """Return a text as one line of at most so many characters, none of which does anything but be read.

    Escapes and styles go, and what writes in another direction or nothing; all blanks and controls become single blanks.
    """
    text = _STYLE.sub("", _ESCAPE.sub("", text[:_MOST_READ]))
    line = " ".join("".join(character if character.isprintable() else _instead(character) for character in text).split())
    return line if len(line) <= longest else line[: longest - len(CUT)].rstrip() + CUT


def _instead(character: str) -> str:
    # Of what cannot be printed, blanks and controls part words; marks of direction, halves of pairs and the like do not.
    return " " if character.isspace() or character < "\u00a0" else ""


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return the message that a template means: each ``{time}``, ``{action}``, ``{reason}`` and ``{server}`` in it replaced once.

    What stands in a value is not filled again, and other braces stay as they are.
    """
    text = _PLACEHOLDER.sub(lambda found: clean(values.get(found[1], ""), _LONGEST_VALUE), template[:_MOST_READ])
    return clean(text)


def spoken_time(seconds: int) -> str:
    """Return a time as it is said: the largest two units, and below two minutes seconds."""
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
    """Return a message as the argument of a console's command: nothing in it ends that, is looked up, or names players."""
    # What goes first leaves what was about it side by side.
    line = _LOOKED_UP.sub("", clean(text))
    return clean(_CONSOLE_CHARACTERS.sub(lambda found: _CONSOLE[found[0]], line))


def for_word(text: str) -> str:
    """Return a message as a word of a command line, which no program takes for an option."""
    return clean(text).lstrip("-/ ")
