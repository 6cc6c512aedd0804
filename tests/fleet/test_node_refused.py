# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role node refuses a machine that cannot work before it changes anything, and uses an engine of any origin."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .lab import Lease, Node, inventory, playbook
from .ran import Ran, changes, made

#: All stand-ins for old programs.
OLD = "/srv/old"
#: An engine that answers pings only.
ENGINE = f"""\
import http.server, socketserver
class Ping(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Api-Version", "1.40")
        self.send_header("Content-Length", "0")
        self.end_headers()
    def address_string(self):
        return "a client"
socketserver.UnixStreamServer("{OLD}/engine.sock", Ping).serve_forever()
"""
#: Modules run on this Python 3.8; a real one of 3.6 cannot even parse them.
PYTHON_3_8 = f'#!/bin/sh\nif [ "$1" = -V ]; then echo Python 3.8.10; else exec {OLD}/38/bin/python "$@"; fi\n'
PYTHON_3_6 = '#!/bin/sh\nif [ "$1" = -V ]; then echo Python 3.6.8; else echo SyntaxError: invalid syntax >&2; exit 1; fi\n'
OLDEST_PYTHON = "and 3.9 is the oldest supported; install a newer one, and name it in"
ELSEWHERE = {"docker": {"host": "tcp://127.0.0.1:9"}}
#: For each name of the same machine: its variables, and the end of its refusal.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "old-python": (
        {"ansible_python_interpreter": f"{OLD}/python3.8"},
        f" a node: {OLD}/38/bin/python is Python 3.8, {OLDEST_PYTHON} ansible_python_interpreter",
    ),
    "older-python": (
        {"ansible_python_interpreter": f"{OLD}/python3.6"},
        f" a node: {OLD}/python3.6 is Python 3.6, {OLDEST_PYTHON} ansible_python_interpreter",
    ),
    "no-python": (
        {"ansible_python_interpreter": f"{OLD}/none"},
        f" a node: {OLD}/none runs no module of Ansible: The module interpreter '{OLD}/none' was not found.",
    ),
    "old-python-of-venv": (
        {"node_python": "virtualenv", "node_virtualenv_python": f"{OLD}/python3.6"},
        f" a node: {OLD}/python3.6 is Python 3.6, {OLDEST_PYTHON} node_virtualenv_python",
    ),
    "old-sdk": (
        {"ansible_python_interpreter": f"{OLD}/sdk/bin/python", "node_settings": ELSEWHERE},
        " for the modules: docker 4.0.2 is too old; install docker 4.1 or newer, or set node_python to virtualenv",
    ),
    "old-engine": (
        {"node_settings": {"docker": {"host": f"unix://{OLD}/engine.sock"}}},
        f" a node: the engine at unix://{OLD}/engine.sock speaks API 1.40, and 1.41 is the oldest supported; "
        "upgrade the engine to Docker 20.10 or newer",
    ),
    "old-stopped-engine": (
        {"node_settings": {"docker": {"host": f"unix://{OLD}/none.sock"}}},
        " a node: /usr/bin/dockerd is Docker 19.03, and 20.10 is the oldest supported; upgrade the engine",
    ),
}


@contextmanager
def old_programs(node: Node) -> Iterator[None]:
    def program(path: str, text: str) -> None:
        node.write(path, text)
        node.ssh(f"chmod 755 {path}")

    packages = f"{OLD}/sdk/lib/python3*/site-packages"
    version = "import sys; sys.version_info = (3, 8, 10, 'final', 0)"
    try:
        node.ssh(f"mkdir {OLD}; for name in 38 sdk; do python3 -m venv --without-pip --system-site-packages {OLD}/$name; done")
        node.ssh(f'echo "{version}" > $(echo {OLD}/38/lib/python3*/site-packages)/old.pth')
        node.ssh(f"cd {packages} && mkdir docker && echo \"__version__ = '4.0.2'\" > docker/__init__.py")
        node.write(f"{OLD}/engine.py", ENGINE)
        node.ssh(f"systemd-run --quiet --unit=old-engine python3 {OLD}/engine.py")
        program(f"{OLD}/python3.8", PYTHON_3_8)
        program(f"{OLD}/python3.6", PYTHON_3_6)
        program("/usr/bin/dockerd", "#!/bin/sh\necho Docker version 19.03.15, build 99e3ed8919\n")
        yield
    finally:
        node.ssh(f"systemctl stop old-engine; rm -rf {OLD} /usr/bin/dockerd")


def state_of(node: Node) -> str:
    """All that the role could change."""
    places = "/etc /usr/local /var/lib/fleet-power /run/fleet-power"
    return node.ssh(
        f"dpkg-query -W; systemctl list-units --all 'fleet-power-*' 'docker*'; find {places} -printf '%p %m %T@\\n'", check=False
    )


def refusals(ran: Ran) -> dict[str, str]:
    """The last message of each host."""
    return {each["host"]: str(each["result"]["msg"]) for each in ran.results if each["result"].get("msg")}


@pytest.mark.long
def test_an_unsupported_machine_is_refused_before_any_change(node: Node) -> None:
    path = inventory([node])
    hosts = json.loads(path.read_text())
    named = {name: {"ansible_host": node.address, **variables} for name, (variables, _end) in REFUSED.items()}
    hosts["all"]["children"]["nodes"]["hosts"] = named
    path.write_text(json.dumps(hosts))
    with old_programs(node):
        before = state_of(node)
        for arguments in ((), ("--check",)):
            ran = playbook("node", path, *arguments, node_engine_install=True)
            assert ran.rc != 0
            found = refusals(ran)
            for name, (_variables, end) in REFUSED.items():
                assert found[name].startswith("Cannot ") and name in found[name], ran.output
                assert found[name].endswith(end), found[name]
            assert set(found) == set(REFUSED)
            assert changes(ran) == []
        assert state_of(node) == before


@pytest.mark.long
def test_an_engine_that_no_known_package_installed_is_used_as_it_is(lease: Lease) -> None:
    """As of docker-ce, or of a tarball: the package manager knows no engine, and dockerd is elsewhere."""
    node = lease(1, renewed=True)[0]
    node.ssh("systemctl stop docker.socket docker && mv /usr/sbin/dockerd /usr/local/bin")
    node.ssh("sed -i s:/usr/sbin/dockerd:/usr/local/bin/dockerd: /etc/systemd/system/docker.service.d/lab.conf && systemctl daemon-reload")
    node.ssh(r"sed -i '/^Package: docker\.io$/,/^$/d' /var/lib/dpkg/status")
    known = "dpkg-query -W -f '${Version}' docker.io"
    assert node.ssh(known, check=False) == ""

    # It is down at first, so the role starts it.
    started = made(playbook("node", [node], node_engine_install=True))
    assert "Start the engine, now and at every boot" in changes(started)
    pid = node.ssh("systemctl show --value --property=MainPID docker").strip()
    assert node.ssh(f"readlink /proc/{pid}/exe").strip() == "/usr/local/bin/dockerd"

    assert changes(made(playbook("node", [node], node_engine_install=True))) == []
    assert node.ssh("systemctl show --value --property=MainPID docker").strip() == pid
    assert node.ssh(known, check=False) == ""
