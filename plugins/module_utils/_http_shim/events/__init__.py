# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's events as clients read on in them: where one stands, what is new after that, and those that wait for it.

`routes` and `service` may import it.
"""
