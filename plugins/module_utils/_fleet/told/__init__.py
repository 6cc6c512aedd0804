# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Receivers are told of rolling runs: which events are due, the files that they wait in, and one bounded attempt to send them.

The controller's plugins may import it.
"""
