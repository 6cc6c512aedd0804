# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's data directory, hostile until proven otherwise: opened safely, measured, given its owner.

`actions` and the HTTP face may import it.
"""
