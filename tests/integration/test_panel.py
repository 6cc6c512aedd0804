# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node with definitions from a Panel: without a good answer a running server stays up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from .lab import Lab, wait_until
from .panel_server import TOKEN, Behaviour, FakePanel, dripping, endless, silent, status, text, truncated, value

#: The timeout of one request, in seconds: shorter than the real one, so that all faults can be played.
_PATIENCE_SECONDS = 1.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.fleet.power.plugins.module_utils._power.sources import panel
    from ansible_collections.fleet.power.plugins.module_utils._power.sources.panel import Patience

    monkeypatch.setattr(panel, "_PATIENT", Patience(_PATIENCE_SECONDS))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


class Managed:
    """A node with a Panel; its definitions are only on the Panel."""

    def __init__(self, lab: Lab, panel: FakePanel) -> None:
        self.lab = lab
        self.panel = panel
        lab.write_settings(**panel.settings)

    def server(self, *, listed: bool = True, **options: Any) -> str:
        uuid = self.lab.server(**options)
        self.panel.put(self.lab.definition(uuid), listed=listed)
        (self.lab.root / "servers" / f"{uuid}.json").unlink()
        return uuid

    def up(self, **options: Any) -> str:
        """A running server; the Panel forgets the requests of its start."""
        uuid = self.server(**options)
        result = self.lab.power("start", uuid)
        assert (result.outcome.value, result.code) == ("done", ""), result
        self.lab.await_ready(uuid)
        self.panel.asked.clear()
        return uuid

    def run(self, uuid: str) -> tuple[str, str]:
        found = self.lab.container(uuid)
        assert found is not None and found["State"]["Running"]
        return str(found["Id"]), str(found["State"]["StartedAt"])


@pytest.fixture
def managed(lab: Lab) -> Iterator[Managed]:
    with closing(FakePanel()) as panel:
        yield Managed(lab, panel)


FAULTS: dict[str, tuple[Behaviour, str]] = {
    "silent": (silent, "source_unreachable"),
    "dripping": (dripping, "source_unreachable"),
    "401": (status(401), "source_denied"),
    "403": (status(403), "source_denied"),
    "404": (status(404), "source_unreachable"),
    "429": (status(429), "source_unreachable"),
    "500": (status(500), "source_unreachable"),
    "truncated": (truncated, "source_unreachable"),
    "truncated JSON": (text(b'{"data": [{"uuid":'), "source_unreachable"),
    "wrong types": (value({"data": "all", "meta": {"last_page": "many"}}), "source_unreachable"),
    "endless": (endless, "source_unreachable"),
}


def test_a_restart_without_a_good_answer_of_the_panel_leaves_the_server_up(managed: Managed) -> None:
    uuid = managed.up()
    before = managed.run(uuid)
    for name, (behaviour, code) in FAULTS.items():
        managed.panel.well()
        managed.panel.fault(behaviour)
        result = managed.lab.power("restart", uuid)
        assert (name, result.outcome.value, result.code, result.changed) == (name, "refused", code, False), result.msg
        assert TOKEN not in result.msg
        assert managed.run(uuid) == before, name
    managed.panel.well()
    assert managed.lab.power("restart", uuid).outcome.value == "done"
    assert managed.run(uuid) != before


@pytest.mark.parametrize("allow_stale", [False, True])
def test_the_last_definition_replaces_a_panel_that_is_down_only_if_allowed(managed: Managed, allow_stale: bool) -> None:
    managed.lab.write_settings(remote_query={"allow_stale": allow_stale})
    uuid = managed.up()
    before = managed.run(uuid)
    managed.panel.close()
    result = managed.lab.power("restart", uuid)
    if allow_stale:
        assert (result.outcome.value, managed.run(uuid) != before) == ("done", True), result
    else:
        assert (result.code, managed.run(uuid)) == ("source_unreachable", before)


def test_a_kill_ends_a_start_that_waits_for_the_panel(managed: Managed) -> None:
    uuid = managed.up()
    managed.lab.power("stop", uuid)
    managed.panel.fault(silent)
    with managed.lab.actor("start", uuid) as actor:
        wait_until(lambda: managed.panel.asked, "the Panel is asked")
        began = time.monotonic()
        managed.lab.power("kill", uuid)
        result = actor.result()
    assert (result["outcome"], result["code"]) == ("cancelled", "cancelled_by_kill"), result
    assert time.monotonic() - began < 10
