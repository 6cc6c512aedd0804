# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP face reads its settings anew: whatever goes wrong then, what counted counts on, and the next look is not the last."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim import shim_settings
from ansible_collections.fleet.power.plugins.module_utils._http_shim.http.log import Log
from ansible_collections.fleet.power.plugins.module_utils._http_shim.service import Service
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import SettingsInvalid

pytest.importorskip("aiohttp")

OLD, NEW = "the-token-that-counts-now", "the-token-that-comes-after-it"


class World:
    """The settings file of one process, and what it logs."""

    def __init__(self, root: Path) -> None:
        self.path = root / "config.yml"
        self._root = root
        self._output = io.StringIO()

    def write(self, token: str) -> None:
        directories = {name: str(self._root) for name in ("lock_directory", "state_directory", "data", "definitions")}
        self.path.write_text(json.dumps({"token": token, "system": directories}))
        self.path.chmod(0o600)

    def run(self, story: Callable[[Service], Awaitable[None]]) -> list[dict[str, str]]:
        async def told() -> None:
            await story(Service(str(self.path), shim_settings.load(str(self.path)), log))

        log = Log(self._output)
        asyncio.run(told())
        log.close()
        return [json.loads(line) for line in self._output.getvalue().splitlines()]


@pytest.fixture(name="world")
def world_of_the_test(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.write(OLD)
    return world


def broken(*_unused: object) -> None:
    raise KeyError("a fault of ours")


@pytest.mark.parametrize(
    "token", [f"{OLD}\n", f" {OLD}", f"{OLD}\t", f"{OLD}\x01", f"{OLD}\r\nX: {OLD}", f"{OLD}\x7f", f"{OLD}\u00a0"], ids=repr
)
def test_a_token_that_no_request_can_bring_is_refused_and_the_old_one_stays(world: World, token: str) -> None:
    async def story(service: Service) -> None:
        world.write(token)
        await service._reload()
        assert service._current().token == OLD

    (entry,) = world.run(story)
    with pytest.raises(SettingsInvalid) as refused:
        shim_settings.load(str(world.path))
    assert (entry["event"], entry["reason"]) == ("settings_not_reloaded", str(refused.value))
    assert "control characters, or blanks at an end" in entry["reason"]
    assert OLD not in entry["reason"]
    assert "\n" not in entry["reason"]


@pytest.mark.parametrize("where", ["load", "taken_over"])
def test_a_fault_while_settings_are_read_is_logged_and_the_next_read_counts(
    world: World, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    async def story(service: Service) -> None:
        world.write(NEW)
        with monkeypatch.context() as patch:
            patch.setattr(shim_settings, where, broken)
            await service._reload()
        assert service._current().token == OLD
        await service._reload()
        assert service._current().token == NEW

    entries = world.run(story)
    assert [entry["event"] for entry in entries] == ["fault", "token_changed", "settings_reloaded"]
    assert "KeyError" in entries[0]["reason"]
