# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor's policy for one server, from settings and definition, and the fingerprint of a definition; pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TypeVar

from ..model.records import asdict, dataclass, replace
from ..model.server import Server
from ..model.supervision import Limits
from .definition import Definition
from .definition_keys import ORIGIN_KEYS
from .settings import Settings
from .settings_keys import RESTART, SupervisorRule

_Said = TypeVar("_Said")


@dataclass(frozen=True)
class Policy:
    supervised: bool
    #: Restart the server after exit code 0 too.
    clean_exit: bool
    limits: Limits
    #: The setting that exempts the server, if any.
    why: str = ""
    #: Restart it also while it hangs.
    restart_unhealthy: bool = False


def policy_of(settings: Settings, server: Server, definition: Definition | None) -> Policy:
    """Return the policy of a server. Without a definition, rules match only by the server itself."""
    selected = {number: rule for number, rule in enumerate(settings.supervisor_rules, 1) if rule.servers.selects(server, definition)}
    rules = selected.values()
    why = _exemption(settings, selected, definition)
    clean_exit = _first((rule.clean_exit for rule in rules), settings.supervisor_clean_exit)
    max_restarts = _first((rule.max_restarts for rule in rules), settings.supervisor_max_restarts)
    reset_after = _first((rule.reset_after for rule in rules), settings.supervisor_reset_after)
    restart_unhealthy = _first((rule.restart_unhealthy for rule in rules), settings.supervisor_restart_unhealthy)
    return Policy(
        supervised=not why,
        clean_exit=settings.clean_exit_is_crash if clean_exit is None else clean_exit == RESTART,
        limits=Limits(max_restarts, float(reset_after)),
        why=why,
        restart_unhealthy=not why and restart_unhealthy,
    )


def definition_fingerprint(definition: Definition) -> str:
    """Return a hash of the whole definition, independent of its source.

    It includes the Panel's own keys: placeholders can use them. Keep it in the journal only: with all else known, it betrays short secrets.
    """
    own = {key: value for key, value in definition.source.items() if key not in ORIGIN_KEYS}
    try:
        content = json.dumps(own, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        # Values that JSON lacks are in unused keys.
        content = json.dumps(asdict(replace(definition, source={}, warnings=())), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _exemption(settings: Settings, rules: Mapping[int, SupervisorRule], definition: Definition | None) -> str:
    """Return the setting that exempts the server, empty if it is supervised: the first one that is set counts."""
    choices = [(rule.supervise, f"rule {number} of supervisor.rules") for number, rule in rules.items()]
    if definition is not None:
        choices.append((definition.crash_detection_enabled, "settings.crash_detection_enabled"))
    choices.append((settings.supervisor_enabled, "supervisor.enabled"))
    choices.append((settings.crash_detection_enabled, "system.crash_detection.enabled"))
    return next("" if supervises else setting for supervises, setting in choices if supervises is not None)


def _first(said: Iterable[_Said | None], default: _Said) -> _Said:
    return next((each for each in said if each is not None), default)
