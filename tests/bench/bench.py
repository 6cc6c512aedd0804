# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the collection with other ways to do the same: `make bench`, or one row: `make bench ARGS=kill`."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / ".build"))

from ansible_collections.fleet.power.tests.bench import (  # noqa: E402
    bulk,
    events,
    five_hundred,
    inventory,
    journal,
    lock,
    one_server,
    shim,
    supervisor,
    synced,
    updates,
)
from ansible_collections.fleet.power.tests.bench.measure import Row, table, worse  # noqa: E402
from ansible_collections.fleet.power.tests.bench.peer import install_peer  # noqa: E402
from ansible_collections.fleet.power.tests.integration.lab import Lab, lab_on  # noqa: E402

#: The values of the rows at the last release.
RELEASED = CHECKOUT / "tests" / "bench" / "released.json"
HOME = CHECKOUT / ".build" / "bench"
Measure = Callable[[Lab], Iterable[Row]]
ROWS: Mapping[str, Measure] = {
    "restart": lambda lab: one_server.restart(lab, install_peer(HOME)),
    "one-info": lambda lab: one_server.info(lab, install_peer(HOME)),
    "status": lambda lab: [one_server.status(lab)],
    "start": lambda lab: [one_server.start(lab)],
    "files": lambda _lab: [one_server.files()],
    "lock": lambda lab: [lock.measure(lab.root)],
    "kill": lambda lab: [one_server.kill(lab)],
    "journal": lambda lab: [journal.measure(lab.root)],
    "synced": synced.measure,
    "inventory": lambda lab: inventory.measure(lab.root),
    "shim-rejected": shim.rejected,
    "shim-accepted": shim.accepted,
    "shim-memory": lambda lab: [shim.memory(lab)],
    "shim-stop": lambda lab: [shim.stop(lab)],
    "supervisor-latency": supervisor.latency,
    "update": updates.downtime,
    "events": events.measure,
    "bulk-quick": lambda lab: bulk.quick(lab, install_peer(HOME)),
}
NAMES = (*ROWS, *five_hundred.ROWS)


def main(names: list[str]) -> int:
    """Measure the named rows, or all. A row with many servers takes minutes. The name ``keep`` keeps the values, for a release."""
    keep, names = "keep" in names, [name for name in names if name != "keep"]
    # After SIGTERM, containers are removed as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    host = os.environ.get("DOCKER_HOST")
    unknown = set(names) - set(NAMES)
    if not host or unknown:
        reason = f"no row {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}" if host else "DOCKER_HOST is not set; use make bench"
        print(f"Cannot measure: {reason}", file=sys.stderr)
        return 2
    HOME.mkdir(parents=True, exist_ok=True)
    rows = [row for name, measure in _chosen(names or NAMES) for row in _measured(name, measure, host)]
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}; medians (10 % to 90 %)")
    print(table(rows))
    released = json.loads(RELEASED.read_text())
    print("\n".join(worse(rows, released)))
    if keep:
        RELEASED.write_text(json.dumps({**released, **{row.what: round(row.value, 2) for row in rows}}, indent=2, sort_keys=True) + "\n")
    results = HOME / "results.json"
    facts = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "load": os.getloadavg(), "rows": [row.facts() for row in rows]}
    results.write_text(json.dumps(facts, indent=2) + "\n")
    print(f"written to {results.relative_to(CHECKOUT)}")
    return 0


def _chosen(names: Sequence[str]) -> Iterator[tuple[str, Measure]]:
    """Return the measurements, in order. The rows that need hundreds of servers share them."""
    yield from ((name, ROWS[name]) for name in names if name in ROWS)
    many = [name for name in names if name in five_hundred.ROWS]
    if many:
        yield ", ".join(many), lambda lab: five_hundred.measure(lab, many)


def _measured(name: str, measure: Measure, host: str) -> Iterator[Row]:
    print(f"measuring {name} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="work-", dir=HOME) as work, contextlib.contextmanager(lab_on)(Path(work) / "node", host) as lab:
        for row in measure(lab):
            print(f"  {row.what}: {row.value:.2f} {row.unit}", file=sys.stderr, flush=True)
            yield row


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
