# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The game of a run of a server: how many play it, and a way to tell them something.

`actions` and the HTTP face may import it. It decides nothing about power.
"""
