# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample rulebook with the real ansible-rulebook: a crash loop sends a page, also across restarts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import uuid as uuid_module
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event, EventType
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server

from .controller import COLLECTIONS, Running
from .lab import Lab, free_port, wait_until
from .shim import NO_ENGINE, TOKEN, again, configure

pytestmark = pytest.mark.long
AT = "2026-03-01T12:00:00.250Z"
#: Java starts, and then Ansible for each page.
PATIENCE = 90.0


@pytest.fixture(scope="module")
def programs() -> str:
    made = subprocess.run([Path(__file__).parents[1] / "lab" / "rulebook"], check=True, stdout=subprocess.PIPE, text=True)
    return made.stdout.strip()


class Rulebook:
    """Runs ansible-rulebook with the sample, and keeps the pages of all its processes."""

    def __init__(self, lab: Lab, programs: str, url: str, lobbies: list[str]) -> None:
        self.root = lab.root / "rulebook"
        self.root.mkdir()
        self._programs = programs
        self.pages = self.root / "pages"
        self.cursor = self.root / "cursor"
        (self.root / "token").write_text(f"{TOKEN}\n")
        note = {"ansible.builtin.shell": {"cmd": f"cat >> {self.pages}", "stdin": "{{ page_event | to_json }}"}, "name": "Page"}
        page = {"name": "Page", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [note]}
        self._write("page.yml", [page])
        variables = {"node_url": url, "token_file": str(self.root / "token"), "cursor_file": str(self.cursor)}
        self._write("vars.yml", {**variables, "pager": str(self.root / "page.yml"), "lobbies": lobbies})
        python = f"{programs}/python"
        node = {"ansible_connection": "local", "ansible_python_interpreter": python}
        given = {"power_become": False, "power_options": {"config": str(lab.config), "docker_host": lab.docker_host}}
        hosts = {"localhost": node}
        self._write(
            "inventory.yml", {"all": {"hosts": hosts, "children": {"nodes": {"hosts": {"node": {**node, **given}}}}, "vars": given}}
        )

    def _write(self, name: str, content: object) -> None:
        # JSON is YAML.
        (self.root / name).write_text(json.dumps(content))

    @contextlib.contextmanager
    def running(self) -> Iterator[Running]:
        environment = {
            "PATH": f"{self._programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "HOME": str(self.root),
            "LANG": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        }
        files = ("--inventory", "inventory.yml", "--vars", "vars.yml")
        command = [f"{self._programs}/ansible-rulebook", "--rulebook", "fleet.power.events", *files]
        with Running(command, environment, self.root, self.root / "none") as running:
            wait_until(self.cursor.exists, "the rulebook follows the node", PATIENCE)
            yield running

    def paged(self) -> list[str]:
        text, found = (self.pages.read_text() if self.pages.exists() else ""), []
        decoder = json.JSONDecoder()
        while text:
            event, end = decoder.raw_decode(text)
            found.append(event["id"])
            text = text[end:].lstrip()
        return found


def give_up(journal: Journal, *numbers: int) -> None:
    """Write crash loops, each of another server: the rulebook pages at most once per server in half an hour."""
    for number in numbers:
        server = Server(str(uuid_module.UUID(int=number)), f"server-{number}")
        assert journal.events.write(Event(EventType.SERVER_CRASH_LOOP, AT, {"consecutive_crashes": 11}, server, f"id-{number}"))


def fixed_port(lab: Lab) -> None:
    configure(lab, api={"port": free_port()})


def end(running: Running) -> None:
    running.signal(signal.SIGTERM)
    running.wait(60.0)


def test_a_crash_loop_pages_once_across_restarts_of_both_sides(tmp_path: Path, programs: str) -> None:
    lab = Lab(tmp_path, NO_ENGINE, None)
    fixed_port(lab)
    with contextlib.closing(lab.node().journal) as journal:
        journal.events.open()
        with again(lab) as shim:
            rulebook = Rulebook(lab, programs, shim.url, [])
            with rulebook.running() as running:
                give_up(journal, 1, 2)
                wait_until(lambda: rulebook.paged() == ["id-1", "id-2"], "both send a page", PATIENCE)
                end(running)
            # The rulebook is down, and so is the HTTP shim.
            give_up(journal, 3)
            shim.kill()
        with again(lab) as next_shim, rulebook.running() as running:
            wait_until(lambda: rulebook.paged()[2:] == ["id-3"], "the event of the break sends a page", PATIENCE)
            next_shim.end()
            give_up(journal, 4)
            time.sleep(2.0)
            with again(lab):
                wait_until(lambda: rulebook.paged()[3:] == ["id-4"], "the event from the next HTTP shim sends a page", PATIENCE)
                running.signal_all(signal.SIGKILL)
                give_up(journal, 5)
                with rulebook.running() as next_one:
                    wait_until(lambda: rulebook.paged()[-1:] == ["id-5"], "the rulebook continues after a kill", PATIENCE)
                    time.sleep(3.0)
                    end(next_one)
    # The cursor was saved before the kill, so no page repeats.
    assert rulebook.paged() == ["id-1", "id-2", "id-3", "id-4", "id-5"]
