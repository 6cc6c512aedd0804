# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The peer: community.docker from the `ansible` package."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

PEER = "community.docker.docker_container"
PEER_NAME = PEER.rpartition(".")[2]
_WANTED = ("ansible_collections/community/docker/", "ansible_collections/community/library_inventory_filtering_v1/")
#: The release of `ansible` for ansible-core 2.N is N minus this number.
_RELEASES_APART = 7


def install_peer(directory: Path) -> Path:
    """Return the directory of the peer's collections, which come from the `ansible` wheel of PyPI, once."""
    collections = directory / "collections"
    if (collections / _WANTED[0] / "MANIFEST.json").exists():
        return collections
    minor = int(importlib.metadata.version("ansible-core").split(".")[1])
    wheels = directory / "wheels"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(wheels)]
    print(f"downloading {PEER} from PyPI", flush=True)
    subprocess.run([*command, f"ansible=={minor - _RELEASES_APART}.*"], check=True)
    (wheel,) = wheels.glob("ansible-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(collections, [name for name in archive.namelist() if name.startswith(_WANTED)])
    wheel.unlink()
    return collections
