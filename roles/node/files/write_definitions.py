# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a directory of definitions match standard input; runs on the node, with the standard library alone.

Standard input is JSON: ``directory``, ``files`` (text by file name), ``broken`` (files that stay as they are), ``group``, ``purge`` and
``check``. Each write is atomic, with mode 0640. A server has one file: others of the same UUID go. Only definitions are ever removed.
Standard output has the names of written and removed files as JSON, without their content.

With ``lay_out`` the directory stays, and standard output has the path of a new one with the result.
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

#: Other names have no reader, or could lead out of the directory.
NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(json|yml|yaml)")
MODE = 0o640


def write_definitions(
    directory: str, files: Mapping[str, str], *, gid: int, purge: bool, check: bool, broken: Collection[str] = ()
) -> dict[str, list[str]]:
    """Write and remove files; return their names. ``check`` changes nothing. Raises OSError, ValueError for a wrong name."""
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
        # Last: during a change of extension a server has two files, which no start accepts, but never none.
        for name in removed:
            os.unlink(os.path.join(directory, name))
        if written or removed:
            _sync(directory)
    return {"written": written, "removed": removed}


def lay_out(directory: str, files: Mapping[str, str], *, purge: bool, broken: Collection[str]) -> str:
    """Return a new directory with the result of `write_definitions`. Raises the same."""
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
    """Return the files of a directory; in check mode it may be missing."""
    with suppress(FileNotFoundError):
        return [entry.name for entry in os.scandir(directory) if not entry.is_dir(follow_symlinks=False)]
    return []


def _stands(path: str, text: bytes, gid: int) -> bool:
    """Tell whether a file already has this text, owner, group and mode."""
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
        # Some file systems cannot sync a directory.
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
        raise OSError(f"Cannot give definitions to the group {group}: it does not exist; run the whole role first") from None


def main() -> None:
    """Do the request of standard input, or end with one sentence."""
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
