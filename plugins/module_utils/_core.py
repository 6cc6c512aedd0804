# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The core of a node: the sources in this directory, installed once, which modules and services import as the package `PACKAGE`.

Its directory has the hash of the sources in its name. Only root can write it, so the name is true. No other package has the same name, so a
file of a core never meets one of a call's payload. Each process of root that runs from a core holds a shared lock of the file `lock_of` it.
No other user can open that file: a lock that others can hold must decide nothing. Their processes import the whole core at once instead.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pkgutil
import pwd
import stat
import sys
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from importlib.machinery import SourceFileLoader
from itertools import chain
from types import CodeType, ModuleType

HOME = "/usr/local/lib/fleet-power"
PACKAGE = "fleet_power"
LOCK_PREFIX = ".held-"
#: In the environment of a call: the core that it should run from, as JSON. On the controller, 0 selects the whole module.
VARIABLE = "FLEET_POWER_CORE"
#: In an answer: why the call found no core. It did nothing.
NO_CORE = "fleet_core"
MEND = "run the playbook fleet.power.node for this node, with --tags node_core"


class CoreUnusable(Exception):
    """Modules cannot run from this core. The text is the reason."""


def core_directory(digest: str) -> str:
    return f"{HOME}/core-{digest}"


def lock_of(core: str) -> str:
    """Return the file whose shared locks keep role node from removing a core."""
    return os.path.join(os.path.dirname(core), f"{LOCK_PREFIX}{os.path.basename(core)}")


def sources(directory: str) -> Iterator[tuple[str, bytes]]:
    """Yield the path below a directory, and the content, of each Python source, in order. Raises OSError."""
    for path in _source_paths(directory):
        with open(path, "rb") as file:
            yield os.path.relpath(path, directory), file.read()


def _source_paths(directory: str) -> Iterator[str]:
    for parent, directories, names in os.walk(directory, onerror=_raise):
        directories[:] = sorted(name for name in directories if not name.startswith((".", "__pycache__")))
        for name in sorted(names):
            if name.endswith(".py") and not name.startswith("."):
                yield os.path.join(parent, name)


def _raise(error: OSError) -> None:
    raise error


def digest_of(files: Iterable[tuple[str, bytes]]) -> str:
    """Return the hash of the paths and contents of `sources`: 16 hexadecimal digits."""
    total = hashlib.sha256()
    for path, content in files:
        total.update(f"{path}\0{len(content)}\0".encode() + content)
    return total.hexdigest()[:16]


def pack(directory: str, target: str) -> None:
    """Write the sources in a directory as a zip file, with the same bytes each time, and print their hash. Raises OSError."""
    files = list(sources(directory))
    with zipfile.ZipFile(target, "w") as archive:
        for path, content in files:
            # Stored, not deflated: compressed bytes differ between versions of zlib.
            archive.writestr(zipfile.ZipInfo(f"{PACKAGE}/{path}"), content)
    print(digest_of(files))


def use_core(core: str) -> None:
    """Let this process import `PACKAGE` from a core, which stays until the process ends. Raises `CoreUnusable`."""
    path = os.path.realpath(core)
    try:
        descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        fault = fault_of(core)
        if not fault:
            hold_core(path)
        # A link could name another version, and until now a directory could be swapped.
        is_same = os.path.realpath(core) == path and os.path.samestat(os.fstat(descriptor), os.stat(path))
        if not fault and (os.path.islink(core) or not is_same):
            fault = f"{core} was replaced"
    except FileNotFoundError as error:
        # Rarely needed, and each call imports this file.
        import glob

        has = "the core of another version" if glob.glob(core_directory("*")) else "no core"
        fault = f"the node has {has}: {error.filename} is missing; {MEND}"
    except OSError as error:
        fault = f"{core} cannot be used: {error.strerror}; {MEND}"
    if fault:
        raise CoreUnusable(fault)
    # Another Python than that of the services finds no bytecode, and must not write any.
    sys.dont_write_bytecode = True
    # PYTHONPYCACHEPREFIX may name a directory of others.
    sys.pycache_prefix = None
    _import_from(os.path.join(path, PACKAGE))
    _import_unheld()


def hold_core(core: str) -> int:
    """Return a descriptor that keeps role node from removing a core while it is open; -1 for users other than root. Raises OSError."""
    if os.geteuid() != 0:
        return -1
    descriptor = os.open(lock_of(core), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return descriptor


def hold_own_core() -> None:
    """Hold the core that this process runs from, if it runs from one, until it ends."""
    if __name__.partition(".")[0] == PACKAGE:
        with suppress(OSError):
            hold_core(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
        _import_unheld()


def _import_unheld() -> None:
    """Import every file of a core that this user cannot hold: its removal must not fail a later import."""
    if os.geteuid() != 0:
        import_module(f"{PACKAGE}._core").import_whole()


def import_whole() -> None:
    """Import every file of `_power`. A later import after an upgrade would get files of another version, and a kill would fail."""
    power = import_module(f"{__name__.rpartition('.')[0]}._power")
    for each in pkgutil.walk_packages(power.__path__, f"{power.__name__}."):
        import_module(each.name)


def use_collection(directory: str, *, keeps_bytecode: bool) -> None:
    """Let this process import `PACKAGE` from an installed collection's module_utils. Bytecode goes to the user's cache, if at all. Raises
    `CoreUnusable`."""
    try:
        # All of them: a later import must not fail.
        closed = next((path for path in _source_paths(directory) if not os.access(path, os.R_OK)), None)
    except OSError as error:
        closed = error.filename
    if closed:
        raise CoreUnusable(f"user {os.geteuid()} cannot read {closed}")
    cache = _bytecode_cache(make=keeps_bytecode)
    sys.pycache_prefix = cache
    # PYTHONDONTWRITEBYTECODE keeps directories of sources clean, which the cache is not.
    sys.dont_write_bytecode = cache is None or not keeps_bytecode
    _import_from(directory)


def _import_from(directory: str) -> None:
    # The cache has bytecode of libraries, too.
    SourceFileLoader.get_code = _code_of  # type: ignore[assignment, method-assign]
    package = ModuleType(PACKAGE)
    package.__path__ = [directory]
    sys.modules[PACKAGE] = package


_get_code = SourceFileLoader.get_code


def _code_of(loader: SourceFileLoader, module: str) -> CodeType | None:
    """Return a module's code; from its source if its bytecode is cut short, which some Pythons write on a full disk. Raises ImportError."""
    try:
        return _get_code(loader, module)
    except (EOFError, TypeError, ValueError):
        path = loader.get_filename(module)
        return loader.source_to_code(loader.get_data(path), path)


def fault_of(core: str) -> str:
    """Return why others than root may write a core or the way to it, and the command against it; else "". Raises OSError."""
    for each in _way(core):
        if fault := _fault(each, 0):
            return f"{fault}; on the node, run chown -h root {each} && chmod go-w {each}"
    # Its files may have been changed, so their permissions are not enough.
    return f"{fault}; {MEND}" if (fault := fault_within(os.path.realpath(core))) else ""


def fault_within(path: str) -> str:
    """Return why others than root may write a directory or a file in it, or may not read it; else "". Raises OSError."""
    below = (os.path.join(parent, name) for parent, directories, names in os.walk(path) for name in (*directories, *names))
    for each in chain((path,), below):
        mode = os.lstat(each).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return f"{each} is neither a file nor a directory"
        needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
        if mode & needed != needed:
            return f"not every user can read {each}"
        if fault := _fault(each, 0):
            return fault
    return ""


def _way(path: str) -> Iterator[str]:
    """Yield each directory and link that leads to a path, without the path itself. The path exists."""
    at, left = "/", path.split("/")[::-1]
    yield at
    while len(left) > 1:
        here = os.path.normpath(os.path.join(at, left.pop()))
        if here != at:
            yield here
        if os.path.islink(here):
            left += os.readlink(here).split("/")[::-1]
            at = "/" if os.readlink(here).startswith("/") else at
        else:
            at = here


def _fault(path: str, owner: int) -> str:
    found = os.lstat(path)
    if found.st_uid not in (0, owner):
        return f"{path} belongs to user {found.st_uid}"
    # The mask of an access control list counts as the group's permissions. A link has none.
    is_open = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not stat.S_ISLNK(found.st_mode)
    return f"users other than root can write {path}" if is_open else ""


def _bytecode_cache(*, make: bool) -> str | None:
    """Return this user's directory for bytecode; None without one that is closed to others than the user and root."""
    user = os.geteuid()
    with suppress(KeyError, OSError):
        home = os.path.realpath(pwd.getpwuid(user).pw_dir)
        cache = os.path.join(home, ".cache", "fleet-power")
        # In the home of another user, root would make a .cache that its owner cannot use.
        if make and not any(_fault(path, user) for path in _way(f"{home}/.")):
            # Directories above would get the mode of the user's umask.
            for path in (os.path.dirname(cache), cache):
                os.makedirs(path, mode=0o700, exist_ok=True)
        # Directories and files below can have any mode. The cache itself can be a link.
        if not os.stat(cache).st_mode & 0o077 and not any(_fault(path, user) for path in _way(f"{cache}/.")):
            return cache
    return None
