# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install a core on a node, and remove cores that nothing uses."""

from __future__ import annotations

import compileall
import fcntl
import glob
import json
import marshal
import os
import shutil
import stat
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import cache_from_source, source_hash
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import TextIO

from ._core import HOME, LOCK_PREFIX, PACKAGE, core_directory, digest_of, fault_of, fault_within, lock_of, sources
from ._power.host.own_files import sync_directory

#: Files that name the core that they run from.
_USERS = ("/etc/systemd/system/fleet-power-*.service", "/usr/local/bin/fleet-power")
_PREFIX, _UNFINISHED = "core-", ".core-"
_YOUNG_SECONDS = 600


def main(archive: str, digest: str) -> None:
    """Install the core of a zip file, or end with one sentence. Print as JSON whether this changed the node, and why modules do not run
    from the core, if so."""
    try:
        core, is_new = install(archive, digest)
        print(json.dumps({"changed": is_new, "untrusted": fault_of(core)}))
    except (OSError, zipfile.BadZipFile) as error:
        sys.exit(f"Cannot install the node core: {error}")


def install(archive: str, digest: str) -> tuple[str, bool]:
    """Have the core of a zip file with its sources, and bytecode for this Python. Return its path, and whether that changed something. A
    power failure leaves it whole or absent. Raises OSError and BadZipFile."""
    os.umask(0o022)
    with _lock():
        unfinished = tempfile.mkdtemp(prefix=_UNFINISHED, dir=HOME)
        try:
            with suppress(OSError):
                # The directory inherited it. Others than root could write the files.
                os.removexattr(unfinished, "system.posix_acl_default")
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(unfinished)
            if digest_of(sources(f"{unfinished}/{PACKAGE}")) != digest:
                raise OSError("another run of the role brings another version at the same time; run it again")
            core = core_directory(digest)
            _open_closed(lock_of(core)).close()
            if _is_intact(core, digest):
                return core, _compile(core)
            _compile(unfinished)
            os.chmod(unfinished, 0o755)
            if os.path.lexists(core):
                # Processes that run from the damaged core keep their files.
                os.rename(core, f"{unfinished}-damaged")
            os.rename(unfinished, core)
            sync_directory(HOME)
            return core, True
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def _lock() -> Iterator[None]:
    """Keep other roles from installing or removing cores. Only root can hold this lock."""
    with _open_closed(f"{HOME}/.lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _open_closed(path: str) -> TextIO:
    """Open a file, new if it is missing, that only root can open. Raises OSError."""
    return open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600))


def _is_intact(core: str, digest: str) -> bool:
    """Tell if a core has all sources, and only root can write it. Otherwise bytecode may be of other sources."""
    try:
        return not fault_within(core) and digest_of(sources(f"{core}/{PACKAGE}")) == digest
    except OSError:
        return False


def _compile(core: str) -> bool:
    """Make bytecode, which Python uses without a look at the source, and sync; return False if it is there. Raises OSError."""
    if all(_is_compiled(f"{core}/{PACKAGE}/{path}", content) for path, content in sources(f"{core}/{PACKAGE}")):
        return False
    # Without force, it keeps damaged bytecode that has the time of its source, as a process without -B writes it.
    if not compileall.compile_dir(core, quiet=2, force=True, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH):
        raise OSError(f"its bytecode cannot be written to {core}")
    os.sync()
    return True


def _is_compiled(path: str, content: bytes) -> bool:
    try:
        bytecode = Path(cache_from_source(path)).read_bytes()
        marshal.loads(bytecode[16:])
    except (OSError, EOFError, ValueError, TypeError):
        return False
    return bytecode[8:16] == source_hash(content)


def remove_unused(core: str) -> None:
    """Remove the cores that no process holds and no unit or command names, except this one; print their paths. Raises OSError. A young core
    stays: another run of the role may be about to name it in a unit."""
    # The files of the role are not on the disk yet. After a power failure they would be empty, or name a removed core.
    os.sync()
    with _lock():
        named = "".join(Path(path).read_text(errors="replace") for pattern in _USERS for path in glob.glob(pattern))
        for name in sorted(os.listdir(HOME)):
            path = os.path.join(HOME, name)
            is_other = name.startswith(_PREFIX) and path != core and name not in named
            if name.startswith(_UNFINISHED) or (is_other and time.time() - os.lstat(path).st_mtime > _YOUNG_SECONDS):
                # It may be in use, or no directory.
                with suppress(OSError):
                    _remove(path)
                    print(path)
        for name in os.listdir(HOME):
            if name.startswith(LOCK_PREFIX) and not os.path.lexists(os.path.join(HOME, name[len(LOCK_PREFIX) :])):
                os.unlink(os.path.join(HOME, name))


def _remove(path: str) -> None:
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        raise NotADirectoryError(path)
    with _open_closed(lock_of(path)) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # After a power failure, no core is there in part.
        gone = tempfile.mkdtemp(prefix=_UNFINISHED, dir=HOME)
        os.rename(path, gone)
        shutil.rmtree(gone)
