# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of roles and playbooks: options, notice for players, and misspelt names; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .._power.model.errors import SettingsInvalid
from .._power.model.players import PLAYER_OPTIONS, PlayerPolicy, read_policy
from .._power.model.request import PowerAction
from .._power.options import POWER_OPTIONS, SHARED_OPTIONS

_WHOLE = re.compile(r"\s*[+-]?\d{1,12}\s*", re.ASCII)
_NAMES = {
    "power": "action become hosts options priorities servers",
    "status": "snapshot states",
    "freeze": "reason servers state supervisor until",
    "rollout": """
        action allow_unknown batch_size before_batch_tasks canary deadline eggs labels left_ok max_delay max_failures max_parallel
        not_before on_failed_start on_failure on_max_delay options outdated pause players_at_most preview_definitions priorities reason
        receivers report result_file resume resume_failed resume_file resume_wait retry_reverted serial servers settle soak states
        stop_timeout suspended wait_for wait_seconds wait_timeout warn warn_message
    """,
    "maintenance": """
        engine_timeout left_ok max_delay on_max_delay options players_at_most priorities reason reboot reboot_timeout record serial
        stagger stop_timeout take_over tasks wait_for wait_seconds wait_timeout warn warn_message
    """,
    "node": """
        check definitions definitions_dir definitions_purge engine_install engine_packages engine_repository engine_service
        event_receivers events memory_max priorities python python_packages restore_max_parallel restore_on_boot restore_stagger
        restore_wait_for settings stop_seconds supervise user user_id virtualenv virtualenv_libraries virtualenv_packages
        virtualenv_python
    """,
    "shim": """
        certificate certificate_key check engine_group firewall firewall_sources memory_max python python_packages user
        virtualenv virtualenv_libraries virtualenv_packages virtualenv_python watchdog
    """,
}
VARIABLES = frozenset(f"{prefix}_{name}" for prefix, names in _NAMES.items() for name in names.split())
#: Old names of variables, with their new names: docs/renames.md.
RENAMED = {"maintenance_memory": "maintenance_record", "maintenance_pass_over": "maintenance_left_ok"}
#: Ansible's name for the words of ``-e NAME=TEXT`` after the first. Otherwise they are lost.
_CUT = "_raw_params"
_EDITS = 2
#: With a prefix of this length, the whole name may be misspelt: it is hardly another word.
_LONG_PREFIX = 7
#: The length of a rest that may have one or two wrong letters after a wrong prefix of ours. A shorter one may be another word.
_LONG_RESTS = (6, 8)


def options_fault(variable: str, given: Iterable[object]) -> str | None:
    """Return why ``variable`` must not have these options, as a sentence; None if all are allowed. ``given`` are names, or a map."""
    if isinstance(given, (str, bytes)):
        return f"Cannot use {variable}: it is text; give a map of options"
    aliases = {alias for option in SHARED_OPTIONS.values() for alias in option.aliases}
    wrong = sorted({str(name) for name in given} - {*SHARED_OPTIONS, *aliases})
    if not wrong:
        return None
    return f"Cannot use {', '.join(wrong)} in {variable}: only options of both looking and acting are allowed: {', '.join(SHARED_OPTIONS)}"


def player_policy(action: str, given: Mapping[str, Any]) -> PlayerPolicy | None:
    """Return an action's notice for players, None without options. Numbers and lists may be text. Raises `SettingsInvalid`."""
    options = {name: _typed(name, given[name]) for name in PLAYER_OPTIONS if given.get(name) is not None}
    return read_policy(action, PowerAction(action).traits.affects_players, options)


def players_fault(given: Mapping[str, Any], action: str) -> str | None:
    """Return why an action cannot have these options for players, as a sentence; None if it can."""
    try:
        player_policy(action, given)
    except SettingsInvalid as error:
        return str(error)
    return None


def _typed(name: str, value: object) -> object:
    """Return a value in the option's type; a wrong value stays unchanged."""
    kind = POWER_OPTIONS[name].type
    if kind == "list":
        each = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
        return [_number(item) for item in each]
    return _number(value) if kind == "int" else value


def _number(value: object) -> object:
    return int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else value


def likely_meant(name: str) -> list[str]:
    """Return the variables that an unknown name probably stands for, without case, underscores and hyphens; empty for other names."""
    prefix, _underscore, rest = name.partition("_")
    # Roles keep their own facts in names that begin with an underscore.
    if name in VARIABLES or not prefix:
        return []
    if name in RENAMED:
        return [RENAMED[name]]
    plain = _plain(name)
    near = (ours for ours in VARIABLES if abs(len(_plain(ours)) - len(plain)) <= _EDITS)
    edits = {ours: count for ours in near for count in [_edits(plain, _plain(ours))] if count <= _reach(prefix, ours)}
    if edits:
        least = min(edits.values())
        return sorted(ours for ours, count in edits.items() if count == least)
    if prefix != "power":
        return []
    # The playbooks' own variables begin with power_, so users look for a role's variable there.
    reach = sum(len(rest) >= least for least in _LONG_RESTS)
    others = (ours for ours in VARIABLES if ours.startswith(("rollout_", "maintenance_")))
    return sorted(ours for ours in others if _edits(rest, ours.partition("_")[2]) <= reach)


def variables_fault(given: Iterable[str]) -> str:
    """Return why variables of the command line are unusable, as a sentence; empty without a fault."""
    if _CUT in given:
        return (
            "Cannot use a value of -e with a blank: Ansible cut it there; write that -e as JSON, "
            """as in -e '{"NAME": "two words"}'; nothing was done"""
        )
    slips = [slip_words(name, meant) for name in sorted(given) for meant in [likely_meant(name)] if meant]
    return f"Cannot use unknown variables: {', '.join(slips)}; correct or remove them; nothing was done" if slips else ""


def renamed_fault(names: Iterable[str]) -> str:
    """Return the refusal of old names of variables, as a sentence; empty without one."""
    found = [f"{name} is now {RENAMED[name]}" for name in sorted(names) if name in RENAMED]
    return f"Cannot use variables under their old names: {', '.join(found)}; rename them; nothing was done" if found else ""


def slip_words(name: str, meant: Iterable[str]) -> str:
    """Return an unknown name with its likely meanings."""
    return f"{name} (did you mean {' or '.join(meant)}?)"


def _reach(prefix: str, ours: str) -> int:
    own = ours.partition("_")[0]
    return _EDITS if prefix == own or len(own) >= _LONG_PREFIX else 0


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _edits(one: str, other: str) -> int:
    """Return the number of letters to insert, remove, replace, or swap with the next."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        two_before, before, row = before, row, [at]
        for place, ours in enumerate(other, 1):
            row.append(min(before[place] + 1, row[place - 1] + 1, before[place - 1] + (letter != ours)))
            if at > 1 and place > 1 and letter == other[place - 2] and one[at - 2] == ours:
                row[place] = min(row[place], two_before[place - 2] + 1)
    return row[-1]
