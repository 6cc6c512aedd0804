# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The README's table of nodes and engines that the tests ran on.

supported.py check SUITE LAYER    fails if the packages of a release have other versions than in the table; LAYER has the packages
supported.py record FILE...       puts complete runs into tests/supported.json and into the table
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
#: A row for each kind of node or engine.
SUPPORTED = CHECKOUT / "tests" / "supported.json"
README = CHECKOUT / "README.md"
#: The columns: key and heading.
COLUMNS = {
    "tested": "Tested",
    "docker": "Docker",
    "store": "image store",
    "python": "Python",
    "sdk": "SDK",
    "systemd": "systemd",
    "kernel": "Linux",
    "cgroups": "cgroups",
    "filter": "packet filter",
    "passed": "tests, all passed",
}
#: The packages with a recorded version, and how many of its numbers count.
_PACKAGES = {"docker.io": ("docker", 3), "python3": ("python", 2), "python3-docker": ("sdk", 3), "systemd": ("systemd", 1)}


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of the table in Markdown."""
    lines = ["| " + " | ".join(COLUMNS.values()) + " |", "| " + " | ".join("---" for _each in COLUMNS) + " |"]
    return lines + ["| " + " | ".join(str(row[key]) for key in COLUMNS) + " |" for row in rows]


def rows() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(SUPPORTED.read_text()) if SUPPORTED.exists() else []
    return found


def check(suite: str, layer: Path) -> str:
    """Return why the layer is not the recorded release; empty if it is, or if there is no record yet."""
    recorded = next((row for row in rows() if row["suite"] == suite and row["systemd"].isdigit()), None)
    if recorded is None:
        return ""
    words = ["dpkg-query", f"--admindir={layer}/var/lib/dpkg", "--show", "--showformat=${Package} ${source:Upstream-Version}\n", *_PACKAGES]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    for line in shown.splitlines():
        package, version = line.split()
        key, numbers = _PACKAGES[package]
        found = ".".join(version.split("+")[0].split("~")[0].split(".")[:numbers])
        if found != recorded[key]:
            return (
                f"Cannot test on {suite}: it has {package} {found} now, and the record has {recorded[key]}; "
                f"run 'make test-machines SUITES={suite} ANEW=1' to record the new versions"
            )
    return ""


def merged(old: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows after these runs. A newer run replaces the row of the same name."""
    found = {(row["tested"], row["store"]): {key: row[key] for key in ("suite", *COLUMNS)} for row in (*old, *runs)}
    return [found[name] for name in sorted(found)]


def record(files: Sequence[Path]) -> str:
    """Put these runs into the record and the README; return why that is impossible, or nothing."""
    runs = [json.loads(file.read_text()) for file in files]
    for file, run in zip(files, runs):
        if run["failed"] or not run["passed"]:
            return f"Cannot record {file}: {run['failed']} tests failed, and {run['passed']} passed"
    before, heading, rest = README.read_text().partition(table([])[0] + "\n")
    if not heading:
        return f"Cannot write the table: {README} has no line with its headings"
    SUPPORTED.write_text(json.dumps(merged(rows(), runs), indent=1) + "\n")
    README.write_text(before + "\n".join(table(rows())) + rest[rest.index("\n\n") :])
    return ""


def main(words: Sequence[str]) -> int:
    if words[:1] == ["check"] and len(words) == 3:
        fault = check(words[1], Path(words[2]))
    elif words[:1] == ["record"] and len(words) > 1:
        fault = record([Path(word) for word in words[1:]])
    else:
        fault = __doc__ or ""
    if fault:
        print(fault, file=sys.stderr)
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
