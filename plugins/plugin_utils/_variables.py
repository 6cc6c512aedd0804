# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of a play: their plain values, and the check that each role and playbook makes first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible.utils.display import Display
from ansible.utils.vars import load_extra_vars
from ansible_collections.fleet.power.plugins.module_utils._fleet.options import likely_meant, renamed_fault, slip_words, variables_fault


def plain_value(value: Any) -> Any:
    """Return a value in Python's own types: JSON and files must not get the types of templates."""
    if isinstance(value, Mapping):
        return {str.__str__(str(key)): plain_value(each) for key, each in value.items()}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Sequence):
        return [plain_value(each) for each in value]
    return value


def given_fault(loader: Any, variables: Mapping[str, Any], hosts: Iterable[str] = ()) -> str:
    """Return why variables are unusable, as a sentence; empty without a fault. These are misspelt extra variables, and old names from
    anywhere. Misspelt ones of the inventory or a play, in ``variables`` and of ``hosts``, only give a warning."""
    extra = load_extra_vars(loader)
    names = set(variables).union(*(raw_variables(variables["hostvars"], host) for host in hosts))
    fault = renamed_fault(names | set(extra)) or variables_fault(extra)
    if fault:
        return fault
    for name in sorted(names - set(extra)):
        meant = likely_meant(name)
        if meant:
            Display().warning(f"Ignoring an unknown variable of the inventory or a play: {slip_words(name, meant)}")
    return ""


def raw_variables(hostvars: Any, host: str) -> Mapping[str, Any]:
    """Return a host's variables without evaluating them: some may need others that are missing."""
    found: Mapping[str, Any] = hostvars.raw_get(host) if hasattr(hostvars, "raw_get") else hostvars[host]
    return found
