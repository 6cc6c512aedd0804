# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install a core on a node, and remove cores that neither a process nor a unit uses."""

from __future__ import annotations

import compileall
import fcntl
import glob
import json
import os
import shutil
import sys
import tempfile
import zipfile
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path
from py_compile import PycInvalidationMode

from ._core import HOME, PACKAGE, core_directory, digest_of, fault_of, fault_within, hold_core, sources
from ._power.host.own_files import sync_directory

_UNITS = "/etc/systemd/system/fleet-power-*.service"
_PREFIX, _UNFINISHED = "core-", ".core-"


def main(archive: str) -> None:
    """Install the core of a zip file, or end with one sentence. Print as JSON whether this changed the node, and why modules do not run
    from the core, if so."""
    try:
        core, is_new = install(archive)
        print(json.dumps({"changed": is_new, "untrusted": fault_of(core)}))
    except (OSError, zipfile.BadZipFile) as error:
        sys.exit(f"Cannot install the node core: {error}")


def install(archive: str) -> tuple[str, bool]:
    """Have the core of a zip file with its sources, and bytecode for this Python. Return its path, and whether that changed something.

    A power failure leaves it whole or absent. Raises OSError and BadZipFile.
    """
    os.umask(0o022)
    unfinished = tempfile.mkdtemp(prefix=_UNFINISHED, dir=HOME)
    descriptor = hold_core(unfinished)
    try:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(unfinished)
        digest = digest_of(sources(f"{unfinished}/{PACKAGE}"))
        core = core_directory(digest)
        if os.path.lexists(core):
            # Bytecode that others could write may be of other sources.
            if digest_of(sources(f"{core}/{PACKAGE}")) == digest and not fault_within(core):
                return core, _compile(core)
            # Processes that run from the damaged core keep their files.
            os.rename(core, tempfile.mkdtemp(prefix=_UNFINISHED, dir=HOME))
        _compile(unfinished)
        os.chmod(unfinished, 0o755)
        try:
            os.rename(unfinished, core)
        except OSError:
            # Another role may have installed the same core meanwhile.
            if digest_of(sources(f"{core}/{PACKAGE}")) != digest:
                raise
        sync_directory(HOME)
        return core, True
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        os.close(descriptor)


def _compile(core: str) -> bool:
    """Make bytecode, which Python uses without a look at the source, and sync; return False if it is there. Raises OSError."""
    if all(os.path.exists(cache_from_source(f"{core}/{PACKAGE}/{path}")) for path, _content in sources(f"{core}/{PACKAGE}")):
        return False
    if not compileall.compile_dir(core, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH):
        raise OSError(f"its bytecode cannot be written to {core}")
    os.sync()
    return True


def remove_unused(core: str) -> None:
    """Remove the cores that no process holds and no unit names, except this one; print their paths. Raises OSError."""
    named = "".join(Path(unit).read_text(errors="replace") for unit in glob.glob(_UNITS))
    for name in sorted(os.listdir(HOME)):
        path = os.path.join(HOME, name)
        is_core = name.startswith(_PREFIX) and path != core and name not in named
        if is_core or name.startswith(_UNFINISHED):
            # It is in use, no directory, or another role is removing it.
            with suppress(OSError):
                _remove(path)
                print(path)


def _remove(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # After a power failure, no core is there in part.
        gone = tempfile.mkdtemp(prefix=_UNFINISHED, dir=HOME)
        os.rename(path, gone)
        shutil.rmtree(gone)
    finally:
        os.close(descriptor)
