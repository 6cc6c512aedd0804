# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as it is on nodes that are upgraded: of the last commit before the modules moved into packages."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from .nodes import CHECKOUT
from .scratch import COLLECTION, collection_in

COMMIT = "a5bc967e5bbaf3d5331203942a78b9d1412e91f8"


def extract(directory: Path) -> Path:
    """Write that collection into a directory; return what Ansible takes for collections.

    A clone that is not whole fetches that commit from where it came from. Where it cannot, there is nothing to upgrade from, and the test
    says so: that a checkout has no history is no fault of what is tested.
    """
    if _git("cat-file", "-e", f"{COMMIT}^{{commit}}").returncode != 0:
        fetched = _git("fetch", "--quiet", "--depth=1", "origin", COMMIT)
        if fetched.returncode != 0:
            said = fetched.stderr.decode(errors="replace").strip()
            pytest.skip(f"Cannot make a node to upgrade: commit {COMMIT[:7]} is not in this clone; run 'git fetch --unshallow' ({said})")
    archived = _git("archive", "--format=tar", COMMIT, *COLLECTION)
    assert archived.returncode == 0, archived.stderr.decode(errors="replace")
    with tarfile.open(fileobj=io.BytesIO(archived.stdout)) as archive:
        archive.extractall(collection_in(directory), filter="data")
    return directory


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    # Whose the checkout is does not matter: the tests run as root.
    command = ["git", "-c", "safe.directory=*", "-C", str(CHECKOUT), *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
