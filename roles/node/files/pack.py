# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack the collection's module_utils into one zip file that Python imports from: ``pack.py MODULE_UTILS ZIP``.

The same files make the same bytes, wherever and whenever they are packed, so that a copy of it is only made where something has changed.
"""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

#: The full name of the collection's module_utils, as a path.
PACKAGE = PurePosixPath("ansible_collections/fleet/power/plugins/module_utils")
#: The earliest moment a zip file can tell.
_MOMENT = (1980, 1, 1, 0, 0, 0)
_REGULAR_0644 = 0o100644 << 16
#: So that the bytes do not depend on the system they are packed on.
_UNIX = 3


def entries(module_utils: Path) -> dict[str, bytes]:
    """Every file of the zip by its path in it: the sources, and an ``__init__.py`` in each package on the way, empty if there is none."""
    found = {str(PACKAGE / path.relative_to(module_utils).as_posix()): path.read_bytes() for path in _sources(module_utils)}
    for name in list(found):
        for parent in list(PurePosixPath(name).parents)[:-1]:
            found.setdefault(str(parent / "__init__.py"), b"")
    return dict(sorted(found.items()))


def pack(module_utils: Path, target: Path) -> None:
    """Write the zip file ``target``; raises OSError, and ValueError where ``module_utils`` has no Python file."""
    files = entries(module_utils)
    if not files:
        raise ValueError(f"Cannot pack {module_utils}: there is no Python file in it")
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _MOMENT)
            entry.external_attr = _REGULAR_0644
            entry.create_system = _UNIX
            # Stored, not deflated: what a compressor makes differs between versions of zlib.
            archive.writestr(entry, content, zipfile.ZIP_STORED)


def _sources(directory: Path) -> Iterator[Path]:
    """The Python files below a directory, in order; of no test, no hidden directory, and none that was compiled."""
    for parent, directories, names in os.walk(directory):
        directories[:] = sorted(name for name in directories if name not in ("__pycache__", "tests") and not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names) if name.endswith(".py") and not name.startswith("."))


def main() -> None:
    """Pack what the command line says, or end with one sentence."""
    try:
        pack(Path(sys.argv[1]), Path(sys.argv[2]))
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    except IndexError:
        sys.exit("Cannot pack: call it as pack.py MODULE_UTILS ZIP")


if __name__ == "__main__":
    main()
