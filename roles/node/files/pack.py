# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack the collection's module_utils into one zip file for Python's import: ``pack.py MODULE_UTILS ZIP``.

The same files always make the same bytes, so Ansible copies the zip file only after a change.
"""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PACKAGE = PurePosixPath("ansible_collections/fleet/power/plugins/module_utils")
#: The earliest time of a zip file.
_MOMENT = (1980, 1, 1, 0, 0, 0)
_REGULAR_0644 = 0o100644 << 16
#: The same on every system, for the same bytes.
_UNIX = 3


def entries(module_utils: Path) -> dict[str, bytes]:
    """Return the zip file's content by path: the sources, and an ``__init__.py`` in each package above them."""
    found = {str(PACKAGE / path.relative_to(module_utils).as_posix()): path.read_bytes() for path in _sources(module_utils)}
    for name in list(found):
        for parent in list(PurePosixPath(name).parents)[:-1]:
            found.setdefault(str(parent / "__init__.py"), b"")
    return dict(sorted(found.items()))


def pack(module_utils: Path, target: Path) -> None:
    """Write the zip file ``target``; raises OSError, and ValueError if ``module_utils`` has no Python file."""
    files = entries(module_utils)
    if not files:
        raise ValueError(f"Cannot pack {module_utils}: there is no Python file in it")
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _MOMENT)
            entry.external_attr = _REGULAR_0644
            entry.create_system = _UNIX
            # Stored, not deflated: compressed bytes differ between versions of zlib.
            archive.writestr(entry, content, zipfile.ZIP_STORED)


def _sources(directory: Path) -> Iterator[Path]:
    """Yield the Python sources below a directory in order, without tests, hidden directories and caches."""
    for parent, directories, names in os.walk(directory):
        directories[:] = sorted(name for name in directories if name not in ("__pycache__", "tests") and not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names) if name.endswith(".py") and not name.startswith("."))


def main() -> None:
    """Pack the files of the command line, or end with one sentence."""
    try:
        pack(Path(sys.argv[1]), Path(sys.argv[2]))
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    except IndexError:
        sys.exit("Cannot pack: call it as pack.py MODULE_UTILS ZIP")


if __name__ == "__main__":
    main()
