# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a configuration file cannot be brought in line."""

from __future__ import annotations

from ..definitions.definition import ConfigRule


class ConfigFault(Exception):
    """A file or a rule that cannot be followed: the reason in one sentence, which never shows content or values; they may be secrets.

    ``rule`` is the rule at fault, or None where it is the file, or where whoever raises it does not know the rule.
    """

    def __init__(self, reason: str, rule: ConfigRule | None = None) -> None:
        super().__init__(reason)
        self.rule = rule
