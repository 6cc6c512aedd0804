# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole core at once, for programs that run for longer than the files they came from may be there.

A module needs little of the core, and imports it where it comes to it. A program that did so after an upgrade would get files of another
version: a kill is not to fail for that.
"""

from __future__ import annotations

import importlib
import os
import pkgutil


def import_whole() -> None:
    """Import every file of the core."""
    for each in pkgutil.walk_packages([os.path.dirname(__file__)], f"{__package__}."):
        importlib.import_module(each.name)
