# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Docker SDK that cannot work is named before a call, in a module and by role node."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import docker
import pytest
import requests
import urllib3
from ansible_collections.fleet.power.plugins.module_utils._power.engine import sdk_fault as file
from ansible_collections.fleet.power.plugins.module_utils._power.engine.connection import Connection, load_sdk
from ansible_collections.fleet.power.plugins.module_utils._power.engine.sdk_fault import sdk_fault
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import MissingLibrary
from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnection


def as_docker_4_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "__version__", "4.0.2")


def as_docker_7_0_with_requests_2_32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests asks the SDK's adapter by a method that this SDK inherits from requests itself."""
    monkeypatch.setattr(docker, "__version__", "7.0.0")
    monkeypatch.setattr(requests, "__version__", "2.32.3")
    inherited = requests.adapters.HTTPAdapter.get_connection_with_tls_context
    monkeypatch.setattr(UnixHTTPAdapter, "get_connection_with_tls_context", inherited)


def as_docker_5_0_with_urllib3_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's connection is one of Python, which knows no arguments of urllib3."""
    monkeypatch.setattr(docker, "__version__", "5.0.3")
    monkeypatch.setattr(urllib3, "__version__", "2.0.7")
    monkeypatch.setattr(UnixHTTPConnection, "request", http.client.HTTPConnection.request)


@pytest.mark.parametrize(
    "unfit, fault, also_by_tcp",
    [
        (as_docker_4_0, "docker 4.0.2 is too old; install docker 4.1 or newer", True),
        (as_docker_7_0_with_requests_2_32, "docker 7.0.0 does not work with requests 2.32.3; install docker 7.1 or newer", False),
        (as_docker_5_0_with_urllib3_2, "docker 5.0.3 does not work with urllib3 2.0.7; install docker 6.1 or newer", False),
    ],
)
def test_a_module_names_an_unfit_sdk_and_the_version_to_install(
    monkeypatch: pytest.MonkeyPatch, unfit: Callable[[pytest.MonkeyPatch], None], fault: str, also_by_tcp: bool
) -> None:
    sdk = load_sdk()
    assert sdk_fault(on_socket=True) == ""
    unfit(monkeypatch)
    assert sdk_fault(on_socket=False) == (fault if also_by_tcp else "")
    with pytest.raises(MissingLibrary) as refused:
        Connection(host="unix:///nowhere").client(sdk, None)
    assert str(refused.value) == f"Cannot talk to the engine: {fault} for {sys.executable}"


def test_role_node_can_run_the_text_of_the_file_alone(tmp_path: Path) -> None:
    text = Path(file.__file__).read_text() + "\nprint(sdk_fault(on_socket=True))"
    assert subprocess.run([sys.executable, "-I", "-c", text], cwd=tmp_path, capture_output=True, text=True, check=True).stdout == "\n"
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "__init__.py").write_text("__version__ = '4.0.2'")
    found = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert found == "docker 4.0.2 is too old; install docker 4.1 or newer\n"


def test_a_module_on_an_old_python_says_so_in_one_sentence() -> None:
    """Ansible-core 2.19 runs modules on Python 3.8, which cannot import the core."""
    script = "import sys\nfrom ansible_collections.fleet.power.plugins.module_utils._archive import compile_once\n"
    script += "sys.version_info = (3, 8, 10, 'final', 0)\ncompile_once()"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    why = f"{sys.executable} is Python 3.8, and 3.9 is the oldest supported; set ansible_python_interpreter to a newer one"
    assert json.loads(ran.stdout) == {"failed": True, "msg": f"Cannot run on this node: {why}"}
