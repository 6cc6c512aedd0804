# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report file of a rolling run: complete, private to its owner, rarely rewritten. A fault of it fails no run."""

from __future__ import annotations

import importlib
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout import run_files
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.values import RolloutError
from ansible_collections.fleet.power.tests.unit.page_support import record

pytest.importorskip("ansible.plugins.action")
pytest.importorskip("jinja2")
plugin = importlib.import_module("ansible_collections.fleet.power.plugins.plugin_utils._rollout_report")


class Reported:
    """A rolling run with a report. The test sets the clock."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file, self.run_file = folder / "reports" / "run.html", folder / "run.json"
        self.now = 100.0
        self.shown: list[str] = []
        self.record: Record = record()
        self.pages = 0
        (folder / "tmp").mkdir()
        self.report = plugin.RunReport(str(folder / "tmp"))
        made = plugin.page

        def counted(*given: Any) -> str:
            self.pages += 1
            return str(made(*given))

        monkeypatch.setattr(plugin, "page", counted)
        monkeypatch.setattr(plugin, "speak", self.shown.append)
        monkeypatch.setattr(plugin, "time", SimpleNamespace(monotonic=lambda: self.now, time=lambda: 1_769_860_800.0 + self.now))

    def begin(self) -> None:
        run_files.save(str(self.run_file), self.record)
        self.report.begin(str(self.file), self.record)
        self.report.follow(str(self.run_file))

    @property
    def text(self) -> str:
        return self.file.read_text()


@pytest.fixture
def reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reported:
    return Reported(tmp_path, monkeypatch)


def test_the_report_exists_from_the_beginning_and_only_its_owner_reads_it(reported: Reported) -> None:
    reported.begin()
    assert "Goes on" in reported.text
    assert reported.file.stat().st_mode & 0o777 == 0o600
    assert reported.file.parent.stat().st_mode & 0o777 == 0o700
    assert list(reported.file.parent.iterdir()) == [reported.file], "a temporary file is left"


def test_the_report_is_rewritten_at_most_every_five_seconds(reported: Reported) -> None:
    reported.begin()
    reported.report.tell("02:00:04 Batch 1 of 3", 30.0, batch_begins=True)
    for _look in range(110):
        reported.now += 0.1
        reported.report.note("node-1", ['{"server": "x", "phase": "stop", "seconds": 1}'])
    assert reported.pages == 1 + 2
    assert "02:00:04 Batch 1 of 3" in reported.text and "about 30 s left" in reported.text


def test_another_rolling_run_of_the_same_command_does_not_change_the_report(reported: Reported) -> None:
    reported.begin()
    before = reported.text
    other = record()
    other.run = "99999999"
    run_files.save(str(reported.run_file), other)
    reported.now += 100
    reported.report.renew()
    reported.report.end(other, "", {"ok": True})
    assert reported.text == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_an_unwritable_directory_raises_an_error(reported: Reported, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RolloutError):
        reported.report.begin(str(tmp_path / "run.html"), reported.record)


def test_a_failed_rewrite_of_the_report_is_a_warning(reported: Reported) -> None:
    reported.begin()
    reported.file.unlink()
    reported.file.mkdir()
    reported.now += 100
    reported.report.renew()
    reported.report.end(reported.record, "", {"ok": True})
    assert [line.split(":")[0] for line in reported.shown] == ["[WARNING]", "[WARNING]"]
    assert "it is no longer updated" in reported.shown[0]


def test_readers_always_find_a_complete_page(reported: Reported) -> None:
    reported.begin()
    ended, faults = threading.Event(), []

    def read() -> None:
        while not ended.is_set():
            if not reported.text.rstrip().endswith("</html>"):
                faults.append(reported.text[-100:])

    reader = threading.Thread(target=read)
    reader.start()
    for _page in range(50):
        reported.now += 100
        reported.report.renew()
    ended.set()
    reader.join()
    assert reported.pages == 51 and faults == []
