# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command that lists one of 2,000 servers, from a Panel and from the cache, beside an inventory of one line."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.fleet.power.tests.bench.measure import Round, Row, alternately, bound, difference
from ansible_collections.fleet.power.tests.unit.inventory_panel import KEY, ApplicationPanel, many_servers

_SERVERS = 2000
_ROUNDS, _WARM_UP = 5, 1
_TARGET_SECONDS, _TARGET_CACHED_MILLISECONDS = 5, 500


def measure(root: Path) -> Iterable[Row]:
    """Measure seconds without the cache, and milliseconds added with the cache."""
    directory = root / "inventory"
    directory.mkdir()
    (ours,) = [path for path in sys.path if (Path(path) / "ansible_collections/fleet/power/galaxy.yml").exists()][:1]
    (directory / "ansible.cfg").write_text(f"[defaults]\ncollections_path = {ours}\n")
    (directory / "one.ini").write_text("game-1\n")
    with contextlib.closing(ApplicationPanel(*many_servers(_SERVERS))) as panel:
        common = {"plugin": "fleet.power.servers", "panel_url": panel.url, "panel_api_key": KEY}
        cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(directory / "cache")}
        (directory / "fresh.fleet_power.yml").write_text(json.dumps(common))
        (directory / "cached.fleet_power.yml").write_text(json.dumps({**common, **cache}))
        ways = [_listing(directory, name) for name in ("fresh.fleet_power.yml", "cached.fleet_power.yml", "one.ini")]
        fresh, cached, one = alternately(ways, _ROUNDS, _WARM_UP)
    what = f"an inventory of {_SERVERS} servers"
    yield bound(f"{what} from the Panel", fresh.shown_in("s"), _TARGET_SECONDS)
    yield difference(f"{what} from the cache", cached, one, "an inventory of one line", _TARGET_CACHED_MILLISECONDS)


def _listing(directory: Path, name: str) -> Round:
    command = [str(Path(sys.executable).with_name("ansible")), "-i", str(directory / name), "game-1", "--list-hosts"]
    variables = {"PATH": os.environ["PATH"], "HOME": str(directory), "LANG": "C.UTF-8", "ANSIBLE_CONFIG": str(directory / "ansible.cfg")}

    def run() -> float:
        began = time.monotonic()
        ran = subprocess.run(command, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
        seconds = time.monotonic() - began
        if "game-1" not in ran.stdout:
            raise RuntimeError(f"the command did not list the host: {ran.stdout}{ran.stderr}")
        return seconds

    return run
