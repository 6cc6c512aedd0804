# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container as its definition and the settings ask for it: specification, resources, network, labels.

It asks no engine; whatever makes containers, or tells whose one is, may import it.
"""
