# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure what was promised, beside what others need for the same: `make bench`, or one row: `make bench ARGS=kill`."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / ".build"))

from ansible_collections.fleet.power.tests.bench import kill, lock, restart, start  # noqa: E402
from ansible_collections.fleet.power.tests.bench.measure import Row, table  # noqa: E402
from ansible_collections.fleet.power.tests.integration.lab import Lab, lab_on  # noqa: E402

HOME = CHECKOUT / ".build" / "bench"
ROWS: Mapping[str, Callable[[Lab], Row]] = {
    "restart": lambda lab: restart.measure(lab, restart.install_peer(HOME)),
    "start": start.measure,
    "lock": lambda lab: lock.measure(lab.root),
    "kill": kill.measure,
}


def main(names: list[str]) -> int:
    """Measure the rows that are named, or all."""
    host = os.environ.get("DOCKER_HOST")
    unknown = set(names) - set(ROWS)
    if not host or unknown:
        reason = (
            f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}" if host else "DOCKER_HOST is not set; use make bench"
        )
        print(f"Cannot measure: {reason}", file=sys.stderr)
        return 2
    HOME.mkdir(parents=True, exist_ok=True)
    rows = [_measured(name, host) for name in names or ROWS]
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}; medians (10 % to 90 %)")
    print(table(rows))
    results = HOME / "results.json"
    facts = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "load": os.getloadavg(), "rows": [row.facts() for row in rows]}
    results.write_text(json.dumps(facts, indent=2) + "\n")
    print(f"written to {results.relative_to(CHECKOUT)}")
    return 0


def _measured(name: str, host: str) -> Row:
    """One row, on a node of its own."""
    print(f"measuring {name} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="work-", dir=HOME) as work, contextlib.contextmanager(lab_on)(Path(work) / "node", host) as lab:
        return ROWS[name](lab)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
