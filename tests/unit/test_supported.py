# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of nodes and engines that tests ran on, and the versions that its releases must have."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

supported = pytest.importorskip("ansible_collections.fleet.power.tests.tools.supported")

ROW = {
    **dict.fromkeys(supported.COLUMNS, "-"),
    "tested": "Debian 12, a machine",
    "suite": "bookworm",
    "docker": "20.10.24",
    "python": "3.11",
    "sdk": "5.0.3",
    "systemd": "252",
    "passed": 3,
}
#: The packages of a release, as dpkg writes versions.
VERSIONS = {"docker.io": "20.10.24+dfsg1-1+deb12u1", "python3": "3.11.2-1+b1", "python3-docker": "5.0.3-1", "systemd": "252.39-1~deb12u1"}


def write_status(layer: Path, **versions: str) -> None:
    status = layer / "var" / "lib" / "dpkg" / "status"
    status.parent.mkdir(parents=True, exist_ok=True)
    entries = {**VERSIONS, **versions}.items()
    status.write_text(
        "".join(f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n" for name, version in entries)
    )


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a record with one row; the README has an empty table."""
    monkeypatch.setattr(supported, "SUPPORTED", tmp_path / "supported.json")
    monkeypatch.setattr(supported, "README", tmp_path / "README.md")
    (tmp_path / "supported.json").write_text(json.dumps([ROW]))
    (tmp_path / "README.md").write_text("\n".join(["Before.", "", *supported.table([]), "", "After.", ""]))
    return tmp_path / "supported.json"


def ran(directory: Path, **fields: Any) -> Path:
    path = directory / "ran.json"
    path.write_text(json.dumps({**ROW, "failed": 0, "skipped": 0, **fields}))
    return path


def test_the_table_of_the_readme_has_exactly_the_recorded_runs() -> None:
    lines = supported.README.read_text().splitlines()
    table = supported.table(supported.rows())
    first = lines.index(table[0])
    assert [*lines[first : first + len(table)], lines[first + len(table)]] == [*table, ""]


def test_a_complete_run_replaces_its_row_and_the_table(record: Path, tmp_path: Path) -> None:
    assert supported.record([ran(tmp_path, passed=5)]) == ""
    assert [row["passed"] for row in json.loads(record.read_text())] == [5]
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("Before.\n\n| Tested") and text.endswith("| 5 |\n\nAfter.\n")


@pytest.mark.parametrize("fields", [{"failed": 1}, {"passed": 0}])
def test_a_run_with_failures_or_without_tests_is_not_recorded(record: Path, tmp_path: Path, fields: dict[str, int]) -> None:
    before = record.read_text(), (tmp_path / "README.md").read_text()
    assert "Cannot record" in supported.record([ran(tmp_path, **fields)])
    assert (record.read_text(), (tmp_path / "README.md").read_text()) == before


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="needs Debian's dpkg-query")
@pytest.mark.usefixtures("record")
def test_another_version_of_a_release_is_one_sentence_with_the_command(tmp_path: Path) -> None:
    write_status(tmp_path / "layer")
    assert supported.check("bookworm", tmp_path / "layer") == ""
    assert supported.check("unknown", tmp_path / "layer") == ""
    write_status(tmp_path / "layer", **{"docker.io": "20.10.25+dfsg1-1"})
    assert supported.check("bookworm", tmp_path / "layer") == (
        "Cannot test on bookworm: it has docker.io 20.10.25 now, and the record has 20.10.24; "
        "run 'make test-machines SUITES=bookworm ANEW=1' to record the new versions"
    )
