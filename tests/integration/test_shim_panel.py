# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP face of a node that has a Panel: asked as the Panel asks, and kept waiting by the Panel never."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from .lab import Lab, wait_until
from .panel_server import TOKEN, FakePanel, closing
from .shim import Answer, Shim, again

#: What the Panel sends with every request to a node.
PANEL = {"token": TOKEN, "Accept": "application/json", "Content_Type": "application/json"}


@pytest.fixture(name="panel")
def fake_panel(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePanel]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with closing(FakePanel()) as panel:
        lab.write_settings(**panel.settings, api={"port": 0})
        lab.config.chmod(0o600)
        yield panel


def managed(lab: Lab, panel: FakePanel, *, listed: bool = True, **options: object) -> str:
    """A server that the Panel alone knows; ``listed``: it is this node's."""
    uuid = lab.server(**options)  # type: ignore[arg-type]
    panel.put(lab.definition(uuid), listed=listed)
    (lab.root / "servers" / f"{uuid}.json").unlink()
    return uuid


def press(shim: Shim, uuid: str, action: str) -> Answer:
    """A press of a button on the Panel."""
    return shim.ask("POST", f"/api/servers/{uuid}/power", {"action": action}, **PANEL)


def ended(shim: Shim, answer: Answer) -> tuple[str, str]:
    assert answer.status == 202, (answer.status, answer.body)
    found = shim.ask("GET", f"{answer.headers['location']}?wait=60", token=TOKEN, seconds=90.0).json
    return found["outcome"], found.get("code", "")


def suspend(lab: Lab, panel: FakePanel, uuid: str, *, suspended: bool) -> None:
    """Suspend a server on the Panel, which tells nobody."""
    raw = panel.guests[uuid].raw
    panel.put({**raw, "settings": {**raw["settings"], "suspended": suspended}})


def test_the_panel_drives_its_servers_by_its_own_calls(lab: Lab, panel: FakePanel) -> None:
    server = managed(lab, panel, name="Cobalt")
    with again(lab) as shim:
        wait_until(lambda: shim.ask("GET", f"/api/servers/{server}", **PANEL).status == 200, "the server is known")
        assert ended(shim, press(shim, server, "start")) == ("done", "")
        lab.await_ready(server)
        shown = shim.ask("GET", f"/api/servers/{server}", **PANEL).json
        assert (shown["state"], shown["configuration"]["meta"]["name"]) == ("running", "Cobalt")
        assert shim.ask("POST", f"/api/servers/{server}/commands", {"commands": ["hello"]}, **PANEL).status == 204
        assert ended(shim, press(shim, server, "restart")) == ("done", "")
        assert ended(shim, press(shim, server, "kill")) == ("done", "")
        origin = shim.ask("GET", f"/api/servers/{server}/operations", **PANEL).json[0]["origin"]
        assert origin.startswith("127.0.0.1 (token ")
        assert shim.ask("GET", "/nothing", **PANEL).headers["access-control-allow-origin"] == panel.url


def test_a_suspension_on_the_panel_counts_once_it_was_synced_and_stops_the_server(lab: Lab, panel: FakePanel) -> None:
    server = managed(lab, panel)
    with again(lab) as shim:
        wait_until(lambda: shim.ask("GET", f"/api/servers/{server}", token=TOKEN).status == 200, "the list was read")
        assert ended(shim, press(shim, server, "start")) == ("done", "")
        suspend(lab, panel, server, suspended=True)
        assert shim.ask("POST", f"/api/servers/{server}/sync", b"", token=TOKEN).status == 204
        wait_until(lambda: not lab.is_up(server), "the suspended server is stopped")
        assert press(shim, server, "start").status == 400
        suspend(lab, panel, server, suspended=False)
        assert shim.ask("POST", f"/api/servers/{server}/sync", b"", token=TOKEN).status == 204
        assert ended(shim, press(shim, server, "start")) == ("done", "")


def test_a_suspension_that_nobody_synced_is_seen_by_the_action(lab: Lab, panel: FakePanel) -> None:
    server = managed(lab, panel)
    with again(lab) as shim:
        wait_until(lambda: shim.ask("GET", f"/api/servers/{server}", token=TOKEN).status == 200, "the list was read")
        assert ended(shim, press(shim, server, "start")) == ("done", "")
        suspend(lab, panel, server, suspended=True)
        # The list read last counts for a moment.
        time.sleep(1.1)
        assert ended(shim, press(shim, server, "restart")) == ("refused", "suspended")
        assert lab.is_up(server)
        assert press(shim, server, "restart").status == 400
