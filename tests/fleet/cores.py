# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node core on nodes of tests, as role node brings it. The first node installs it; others get a copy in a tenth of a second."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ansible_collections.fleet.power.plugins.module_utils._core import HOME, digest_of, pack, sources

from .nodes import Node
from .scratch import collection_root

_INSTALL = f"import sys; sys.path.insert(0, '{HOME}/core.zip'); from fleet_power._core_install import main; main(*sys.argv[1:])"
#: By the hash of the sources.
_packed: dict[str, bytes] = {}


def bring_core(node: Node) -> None:
    """Bring the core of this test's collection, with bytecode of the node's Python."""
    directory = str(collection_root() / "plugins" / "module_utils")
    digest = digest_of(sources(directory))
    if digest not in _packed:
        with tempfile.TemporaryDirectory() as folder:
            pack(directory, f"{folder}/core.zip")
            node.feed(f"mkdir -p {HOME} && cat > {HOME}/core.zip", Path(folder, "core.zip").read_bytes())
        node.ssh(f'python3 -I -B -c "{_INSTALL}" {HOME}/core.zip {digest}')
        _packed[digest] = node.feed(f"tar -czC {HOME} .", b"")
    node.feed(f"mkdir -p {HOME} && tar -xzC {HOME}", _packed[digest])
