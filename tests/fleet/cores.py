# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node core on nodes of tests, as role node brings it, but in a tenth of a second."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from ansible_collections.fleet.power.plugins.module_utils._core import HOME, PACKAGE, digest_of, sources

from .nodes import Node
from .scratch import collection_root

#: By the hash of the sources.
_packed: dict[str, bytes] = {}
_COMPILE = f"cd {HOME} && python3 -m compileall -q --invalidation-mode unchecked-hash core-*"


def bring_core(node: Node) -> None:
    """Bring the core of this test's collection, with bytecode of the node's Python."""
    digest = digest_of(sources(str(collection_root() / "plugins" / "module_utils")))
    if digest not in _packed:
        _packed[digest] = _pack(digest, node)
    node.feed(f"mkdir -p {HOME} && tar -xzC {HOME}", _packed[digest])


def _pack(digest: str, first: Node) -> bytes:
    """Return the core as an archive. The first node makes its bytecode."""
    with tempfile.TemporaryDirectory() as directory:
        for path, content in sources(str(collection_root() / "plugins" / "module_utils")):
            target = Path(directory, f"core-{digest}", PACKAGE, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        packed = subprocess.run(["tar", "-czC", directory, "--owner=0", "--group=0", "--mode=go-w", "."], capture_output=True, check=True)
    first.feed(f"mkdir -p {HOME} && tar -xzC {HOME} && {_COMPILE}", packed.stdout)
    return first.feed(f"tar -czC {HOME} .", b"")
