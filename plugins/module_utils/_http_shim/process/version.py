# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The version of this collection, for whoever asks a node, where there may be nothing but these files; pure."""

from __future__ import annotations

#: That of galaxy.yml: a test holds them together.
VERSION = "1.0.0"
