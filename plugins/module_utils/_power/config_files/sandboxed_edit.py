# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits of files that a tenant may have written: in a child with limits, one for the files of a start.

A parser may take much more memory and time than its text, and libyaml and expat hold the lock of the interpreter meanwhile. Only a few
children run at a time, and a large file is in memory only during its turn: together they need less than a service may have.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator

from ..definitions.definition import ConfigFile
from ..host.sandbox import Limits, NotStarted, Sandbox, SandboxEnded
from ..model.cancellation import CheckCancelled
from ..model.config_rule import LARGEST_FILE
from ..model.errors import MissingLibrary
from ..model.records import astuple
from .edit import edited
from .rules import REGEX, ConfigFault

#: A result by the place of its entry in the definition, and by the content before.
Results = dict[tuple[int, bytes], bytes]

_LIMITS = Limits(seconds=10, memory=352, patience=60.0, content=LARGEST_FILE)
_turns = threading.BoundedSemaphore(2)
_TURN_SECONDS = 0.2
#: Parsers that read line by line. Files up to this size, before and after together, are safe for them; their results are kept.
_BY_LINES = ("file", "properties")
_SMALL = 256 * 1024
#: The child's code. It has no collection of its own: it imports this one from where this process has it.
_PROGRAM = r"""
import types

core, sys.path, sys.pycache_prefix = json.loads(sys.argv[4])
sys.dont_write_bytecode = True
package = types.ModuleType("fleet_power")
package.__path__ = [core]
sys.modules[package.__name__] = package
from fleet_power._power.config_files.edit import edited
from fleet_power._power.config_files.rules import ConfigFault
from fleet_power._power.model.config_rule import ConfigRule
from fleet_power._power.model.errors import MissingLibrary, internal_error

def answer(before, parser, given):
    rules = [ConfigRule(*each) for each in given]
    try:
        after = edited(before, parser, rules)
    except ConfigFault as fault:
        place = next((place for place, rule in enumerate(rules) if rule is fault.rule), None)
        return (["fault", str(fault), place],)
    except MissingLibrary as error:
        return (["library", str(error), error.facts],)
    except MemoryError:
        raise
    except Exception as error:
        return (["fault", internal_error(error, "it cannot be edited"), None],)
    return (["same"],) if after == before else (["after"], after)

serve(answer)
"""


@contextlib.contextmanager
def editor(results: Results, check_cancelled: CheckCancelled) -> Iterator[Editor]:
    """Yield an editor that uses and keeps the ``results`` of small files."""
    with contextlib.ExitStack() as ended:
        yield Editor(results, check_cancelled, ended)


class Editor:
    """Edits files, hostile ones in a child that starts on demand."""

    def __init__(self, results: Results, check_cancelled: CheckCancelled, ended: contextlib.ExitStack) -> None:
        self._results = results
        self._check_cancelled = check_cancelled
        self._has_turn = False
        self._ended = ended
        self._child: Sandbox | None = None

    def await_turn(self, config: ConfigFile, size: int) -> None:
        """Wait for a turn if a file of a ``size`` needs one. Call it before the file is read."""
        if self._has_turn or _is_safe(config, size):
            return
        while not _turns.acquire(timeout=_TURN_SECONDS):
            self._check_cancelled()
        self._has_turn = True
        self._ended.callback(_turns.release)

    def edit(self, place: int, config: ConfigFile, before: bytes) -> bytes:
        """Return the content after the edit by the entry at a ``place``.

        Raises as `edited`, and `ConfigFault` for a file that goes beyond a limit.
        """
        known = (place, before)
        if known in self._results:
            return self._results[known]
        after = edited(before, config.parser, config.rules) if _is_safe(config, len(before)) else self._sandboxed(config, before)
        if len(before) + len(after) <= _SMALL:
            self._results[known] = after
        return after

    def _sandboxed(self, config: ConfigFile, before: bytes) -> bytes:
        # The file may have grown.
        self.await_turn(config, len(before))
        child, self._child = self._child, None
        try:
            if child is None:
                child = Sandbox(_PROGRAM, _LIMITS, _surroundings())
                self._ended.callback(child.end)
            (kind, *said), after = child.ask(config.parser, [astuple(rule) for rule in config.rules], content=before)
        except NotStarted:
            raise ConfigFault("the interpreter that edits it cannot be started") from None
        except SandboxEnded as fault:
            raise ConfigFault(f"its edit {fault}") from None
        self._child = child
        if kind == "library":
            raise MissingLibrary(said[0], **said[1])
        if kind == "fault":
            raise ConfigFault(said[0], None if said[1] is None else config.rules[said[1]])
        return before if kind == "same" else after


def _is_safe(config: ConfigFile, size: int) -> bool:
    """Tell if an edit needs little memory and time whatever the content is."""
    has_pattern = any(rule.if_value is not None and rule.if_value.startswith(REGEX) for rule in config.rules)
    return config.parser in _BY_LINES and not has_pattern and size <= _SMALL


def _surroundings() -> str:
    """Return where a child finds this collection and its libraries, as JSON. A child has another working directory."""
    core = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return json.dumps([core, [os.path.abspath(path) for path in sys.path], sys.pycache_prefix])
