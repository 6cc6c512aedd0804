# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a role's variable to those who are told of a run: files of addresses and secrets are the controller's."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..._power.definitions.receiver_keys import read_receiver_rules
from ..._power.model.errors import SettingsInvalid
from ..._power.model.schema import Mismatch
from ..._power.receivers.receiver import Receiver, receivers_of
from ..rollout.words import RolloutError
from .waiting import tells_of_runs

VARIABLE = "rollout_receivers"
_FILES = ("url_file", "secret_file")


def read_receivers(given: object) -> tuple[Receiver, ...]:
    """Return those of a list of receivers that are told of runs. Raises `RolloutError`, which shows neither address nor secret."""
    if given is None:
        return ()
    try:
        rules = read_receiver_rules(_expanded(given), VARIABLE)
        return tuple(receiver for receiver in receivers_of(rules) if tells_of_runs(receiver))
    except Mismatch as error:
        raise RolloutError(f"Cannot use {VARIABLE}: {error}") from None
    except SettingsInvalid as error:
        raise RolloutError(str(error)) from None


def _expanded(given: object) -> object:
    """Return the list with the paths in it as they are for whoever runs the command, and without what is empty."""
    if not isinstance(given, list):
        return given
    return [_paths(each) if isinstance(each, Mapping) else each for each in given]


def _paths(rule: Mapping[str, object]) -> dict[str, object]:
    said = {name: value for name, value in rule.items() if value not in (None, "")}
    return {name: os.path.expanduser(value) if name in _FILES and isinstance(value, str) else value for name, value in said.items()}
