# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The attributes that every module documents."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change. This
      assumes that the system controlled by the module has not changed in a relevant way.
  platform:
    description: Target OS and families that can be operated against.
    support: full
    platforms: posix
requirements:
  - "Python >= 3.9"
"""

    ACTIONGROUP_POWER = r"""
attributes:
  action_group:
    description: Use C(group/fleet.power.power) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - fleet.power.power
"""

    READ_ONLY = r"""
attributes:
  check_mode:
    support: full
    details: The module changes nothing in any mode.
  diff_mode:
    support: N/A
    details: The module changes nothing.
  idempotent:
    support: full
"""
