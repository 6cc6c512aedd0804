# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One server restarted by a whole ad-hoc command, beside community.docker's restart of an equal container."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from ansible_collections.fleet.power.plugins.module_utils.power.container_spec import container_spec
from ansible_collections.fleet.power.tests.bench.measure import Row, in_turn, ratio
from ansible_collections.fleet.power.tests.integration.lab import Lab

PEER = "community.docker.docker_container"
_WANTED = ("ansible_collections/community/docker/", "ansible_collections/community/library_inventory_filtering_v1/")
#: The release of `ansible` that is built for ansible-core 2.N is N minus this.
_RELEASES_APART = 7
_ROUNDS = 15


def install_peer(directory: Path) -> Path:
    """The directory to find the peer's collections in; they are taken out of the `ansible` wheel from PyPI, once."""
    collections = directory / "collections"
    if (collections / _WANTED[0] / "MANIFEST.json").exists():
        return collections
    minor = int(importlib.metadata.version("ansible-core").split(".")[1])
    wheels = directory / "wheels"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(wheels)]
    print(f"fetching {PEER} from PyPI", flush=True)
    subprocess.run([*command, f"ansible=={minor - _RELEASES_APART}.*"], check=True)
    (wheel,) = wheels.glob("ansible-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(collections, [name for name in archive.namelist() if name.startswith(_WANTED)])
    wheel.unlink()
    return collections


class Commands:
    """The two ad-hoc commands: same configuration, same interpreter, same engine, equal containers that stop by the same signal."""

    def __init__(self, lab: Lab, collections: Path, *, pipelining: bool) -> None:
        self._lab = lab
        self._uuid = lab.server(stop={"type": "signal", "value": "SIGTERM"}, done=())
        assert lab.power("start", self._uuid).outcome.value == "done"
        self._peer = self._equal_container()
        configuration = lab.root / f"ansible-{self._uuid}.cfg"
        ours = next(path for path in sys.path if (Path(path) / "ansible_collections/fleet/power/galaxy.yml").exists())
        configuration.write_text(
            f"[defaults]\ncollections_path = {ours}:{collections}\nlocalhost_warning = false\n"
            f"[inventory]\ninventory_unparsed_warning = false\n[connection]\npipelining = {pipelining}\n"
        )
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "ANSIBLE_CONFIG": str(configuration),
            "ANSIBLE_HOME": str(lab.root / "home"),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "DOCKER_HOST": lab.docker_host,
        }

    def ours(self) -> float:
        """Restart by this collection."""
        return self._restart(self._uuid, "fleet.power.server_power", f"server={self._uuid} action=restart config={self._lab.config}")

    def peers(self) -> float:
        """Restart by the peer."""
        return self._restart(self._peer, PEER, f"name={self._peer} restart=true")

    def _equal_container(self) -> str:
        """A container that differs in its name and labels alone."""
        node, name = self._lab.node(), f"peer-{self._uuid}"
        image = node.engine.image("fleet-power/testserver:latest")
        assert image is not None
        definition = node.sources.definition(self._uuid)
        spec = container_spec(definition, node.settings, data_directory=str(self._lab.volume(self._uuid)), image_id=image.id)
        self._lab.uuids.append(name)
        identity, _warnings = node.engine.create(name, {**spec.config, "Labels": {}})
        node.engine.start(identity)
        return name

    def _restart(self, container: str, module: str, arguments: str) -> float:
        before = self._lab.container(container)
        command = [str(Path(sys.executable).with_name("ansible")), "localhost", "-m", module, "-a", arguments]
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, env=self._environment, stdin=subprocess.DEVNULL, check=False)
        seconds = time.monotonic() - began
        after = self._lab.container(container)
        assert done.returncode == 0, done.stdout + done.stderr
        assert before is not None
        assert after is not None
        assert (after["Id"], after["State"]["Running"]) == (before["Id"], True), "it was to be restarted, not recreated"
        assert after["State"]["StartedAt"] != before["State"]["StartedAt"], done.stdout
        return seconds


def measure(lab: Lab, collections: Path) -> Row:
    """The row of the table, with Ansible's own defaults; what pipelining makes of it is a note."""
    commands = Commands(lab, collections, pipelining=False)
    ours, other = in_turn(commands.ours, commands.peers, _ROUNDS)
    piped = Commands(lab, collections, pipelining=True)
    ours_piped, other_piped = in_turn(piped.ours, piped.peers, 5)
    note = f"with pipelining {ours_piped.median / other_piped.median:.2f} times ({ours_piped.text()} beside {other_piped.text()})"
    return ratio("ad-hoc restart", ours, other, "docker_container", 0.9, [note])
