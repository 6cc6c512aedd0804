# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quicker imports for a module on a node, where it runs from an archive with source only, compiled at each call."""

from __future__ import annotations

import json
import sys
from zipimport import zipimporter


class _CompilingOnce(zipimporter):
    """An importer that finds a file without compiling it. Python's own compiles each file twice, once only to find it."""

    def get_filename(self, fullname: str) -> str:
        name = fullname.rpartition(".")[2]
        return f"{self.archive}/{self.prefix}{name}/__init__.py" if self.is_package(fullname) else f"{self.archive}/{self.prefix}{name}.py"


def compile_once() -> None:
    """Prepare the import of the core. On a Python that cannot import it, end the module: ansible-core 2.19 runs modules on 3.8."""
    if sys.version_info < (3, 9):  # noqa: UP036
        found = "{}.{}".format(*sys.version_info)
        why = f"{sys.executable} is Python {found}, and 3.9 is the oldest supported; set ansible_python_interpreter to a newer one"
        print(json.dumps({"failed": True, "msg": f"Cannot run on this node: {why}"}))
        raise SystemExit(1)
    if isinstance(getattr(__spec__, "loader", None), zipimporter):
        sys.path_hooks.insert(0, _CompilingOnce)
        sys.path_importer_cache.clear()
