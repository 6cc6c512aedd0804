# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a directory of definitions in line with what is read from standard input; runs on the node, with the standard library alone.

Standard input is JSON: ``directory``, ``files`` (text by file name), ``broken`` (names of files whose servers keep what they have),
``group``, ``purge`` and ``check``. Each file appears whole, with mode 0640, or not at all. A server has one file: another one of the same
uuid goes. Only files that could be definitions are ever removed. Names of what was written and removed go to standard output, as JSON;
nothing that stands in a definition does.

With ``lay_out`` the directory is left alone. Another one is made that has what would be in it; its path goes to standard output.
"""

from __future__ import annotations

import errno
import grp
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Collection, Mapping
from contextlib import suppress

#: What a definition's file is called: any other name would be read by nobody, or lead out of the directory.
NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(json|yml|yaml)")
MODE = 0o640


def write_definitions(
    directory: str, files: Mapping[str, str], *, gid: int, purge: bool, check: bool, broken: Collection[str] = ()
) -> dict[str, list[str]]:
    """Write what differs, remove what must go; the names of both. With ``check`` only look. Raises OSError; ValueError for a wrong name."""
    for name in files:
        if NAME.fullmatch(name) is None:
            raise ValueError(f"Cannot write the definition {name!r}: it is not named by a uuid in lower case; name it so")
    present = sorted(name for name in _names(directory) if NAME.fullmatch(name.lower()))
    stems, kept = {_stem(name) for name in files}, {_stem(name) for name in broken}
    removed = [name for name in present if name not in files and _stem(name) not in kept and (purge or _stem(name) in stems)]
    written = [name for name, text in sorted(files.items()) if not _stands(os.path.join(directory, name), text.encode(), gid)]
    if not check:
        for name in written:
            _write(directory, name, files[name].encode(), gid)
        # Last: a server that changes from one extension to another has two files for a moment, which no start accepts, but never none.
        for name in removed:
            os.unlink(os.path.join(directory, name))
        if written or removed:
            _sync(directory)
    return {"written": written, "removed": removed}


def lay_out(directory: str, files: Mapping[str, str], *, purge: bool, broken: Collection[str]) -> str:
    """Make a directory that has what `write_definitions` would leave in ``directory``; its path. Raises as that does."""
    place = tempfile.mkdtemp(prefix="fleet-power-definitions.")
    try:
        for name in _names(directory):
            os.symlink(os.path.abspath(os.path.join(directory, name)), os.path.join(place, name))
        write_definitions(place, files, gid=-1, purge=purge, check=False, broken=broken)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return place


def _stem(name: str) -> str:
    return os.path.splitext(name)[0].lower()


def _names(directory: str) -> list[str]:
    """The files of a directory; one that does not exist, as in check mode, has none."""
    with suppress(FileNotFoundError):
        return [entry.name for entry in os.scandir(directory) if not entry.is_dir(follow_symlinks=False)]
    return []


def _stands(path: str, text: bytes, gid: int) -> bool:
    """Tell whether a file is there already as it should be, its owner, group and mode included."""
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) != (os.geteuid(), gid, MODE):
            return False
        with open(path, "rb") as file:
            return file.read() == text
    except FileNotFoundError:
        return False


def _write(directory: str, name: str, text: bytes, gid: int) -> None:
    descriptor, fresh = tempfile.mkstemp(prefix=".fleet-power.", dir=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchown(descriptor, -1, gid)
            os.fchmod(descriptor, MODE)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.rename(fresh, os.path.join(directory, name))
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(fresh)
        raise


def _sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot sync a directory, and say that this is no such file.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def _gid(group: str, check: bool) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        if check:
            return -1
        raise OSError(f"Cannot give definitions to the group {group}: there is none; run the whole role first") from None


def main() -> None:
    """Do what standard input says, or end with one sentence."""
    asked = json.load(sys.stdin)
    what = {"files": asked["files"], "purge": asked["purge"], "broken": asked["broken"]}
    try:
        if asked.get("lay_out"):
            print(lay_out(asked["directory"], **what))
            return
        gid = _gid(asked["group"], asked["check"])
        done = write_definitions(asked["directory"], gid=gid, check=asked["check"], **what)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    json.dump(done, sys.stdout)


if __name__ == "__main__":
    main()
