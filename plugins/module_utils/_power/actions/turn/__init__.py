# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One action on one server: `perform` tells the story, each other file is a stage of it; `locked` is what is done under the lock.

`call`, `endpoint` and the HTTP face may import it.
"""
