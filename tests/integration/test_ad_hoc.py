# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two ways to call the module from a shell: by its full name where the collection is installed, by its short name in the checkout."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from .controller import CHECKOUT, MODULE, Controller
from .lab import Lab

pytestmark = pytest.mark.skipif(not (CHECKOUT / "galaxy.yml").exists(), reason="this is no checkout, but an installed collection")

#: What of the checkout is no part of the collection: what tests and tools leave in it.
NOT_PACKED = shutil.ignore_patterns(".*", "tests", "__pycache__", "*.tar.gz")


def install(directory: Path, controller: Controller) -> Path:
    """Build the collection and install it below a directory, as a user does; the path that leads to it."""
    source, collections = directory / "source", directory / "collections"
    shutil.copytree(CHECKOUT.resolve(), source, ignore=NOT_PACKED)
    built = controller.run("ansible-galaxy", "collection", "build", str(source), "--output-path", str(directory))
    assert built.code == 0, built.output
    (package,) = directory.glob("fleet-power-*.tar.gz")
    installed = controller.run("ansible-galaxy", "collection", "install", str(package), "-p", str(collections), "--offline")
    assert installed.code == 0, installed.output
    return collections


@pytest.mark.long
def test_the_installed_collection_is_called_by_its_full_name(lab: Lab, tmp_path: Path) -> None:
    uuid = lab.server(name="Cobalt")
    (tmp_path / "elsewhere").mkdir()
    controller = Controller(lab, tmp_path / "controller")
    controller.collections = install(tmp_path / "elsewhere", controller)
    run = controller.ad_hoc(MODULE, f"server={uuid} action=restart config={lab.config} docker_host={lab.docker_host}")
    assert run.code == 0, run.output
    assert (run.server["outcome"], run.server["name"], run.server["state_before"]) == ("done", "Cobalt", "offline")
    assert lab.is_up(uuid)
    row = lab.node().journal.operations.last(uuid)
    assert row is not None and row.origin.endswith("(ad hoc)")


@pytest.fixture
def linked_checkout() -> Path:
    """The checkout, with the link that its ansible.cfg goes through, as ``make venv`` leaves it."""
    checkout = Path(__file__).parents[2]
    subprocess.run([checkout / "tests/tools/copy", "link"], check=True)
    return checkout


@pytest.mark.long
def test_in_the_checkout_the_short_name_will_do(lab: Lab, controller: Controller, linked_checkout: Path) -> None:
    uuid = lab.server()
    options = f"config={lab.config} docker_host={lab.docker_host}"
    own_files = {"ANSIBLE_CONFIG": "", "ANSIBLE_REMOTE_TMP": str(controller.root / "remote")}

    def ad_hoc(module: str, arguments: str) -> str:
        run = controller.run("ansible", "localhost", "-m", module, "-a", arguments, directory=linked_checkout, environment=own_files)
        assert run.code == 0, run.output
        return run.output

    output = ad_hoc("server_power", f"server={uuid} action=restart {options}")
    assert '"outcome": "done"' in output and "WARNING" not in output
    assert lab.is_up(uuid)
    row = lab.node().journal.operations.last(uuid)
    assert row is not None and row.origin.endswith("(ad hoc)")
    assert f'"server": "{uuid}"' in ad_hoc("server_power_info", f"server={uuid} {options}")
    assert '"outcome": "done"' in ad_hoc(MODULE, f"server={uuid} action=kill {options}")
    assert not lab.is_up(uuid)
