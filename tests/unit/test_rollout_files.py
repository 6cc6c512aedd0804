# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of runs: a file for each, a link to the last, and none that another run could be taken for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run_files import RunFiles

DEFAULT = "~/.ansible/fleet_power/rollout.json"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".ansible/fleet_power"


def files(result_file: str = DEFAULT, *, check: bool = False) -> RunFiles:
    return RunFiles({"result_file": result_file}, "/nowhere", check=check)


def read(path: Path) -> Any:
    return json.loads(path.read_text())["run"]


def test_each_run_has_a_file_and_the_link_is_to_the_one_that_ended_last(folder: Path) -> None:
    for run in ("aaaaaaaa", "bbbbbbbb"):
        files().forget_result()
        files().write_result({"run": run})
    assert os.readlink(folder / "rollout.json") == "rollout-bbbbbbbb.json"
    assert read(folder / "rollout.json") == "bbbbbbbb"
    assert read(folder / "rollout-aaaaaaaa.json") == "aaaaaaaa"
    assert sorted(os.listdir(folder)) == ["rollout-aaaaaaaa.json", "rollout-bbbbbbbb.json", "rollout.json"]
    assert (folder / "rollout-aaaaaaaa.json").stat().st_mode & 0o777 == 0o600


def test_during_a_run_no_earlier_result_is_taken_for_its_own_and_none_is_lost(folder: Path) -> None:
    files().write_result({"run": "aaaaaaaa"})
    files().forget_result()
    assert not os.path.lexists(folder / "rollout.json")
    assert read(folder / "rollout-aaaaaaaa.json") == "aaaaaaaa"


def test_a_file_that_was_asked_for_is_that_very_file(folder: Path, tmp_path: Path) -> None:
    asked = tmp_path / "mine" / "rollout.json"
    files(str(asked)).write_result({"run": "aaaaaaaa"})
    files(str(asked)).write_result({"run": "bbbbbbbb"})
    assert not asked.is_symlink()
    assert read(asked) == "bbbbbbbb"
    assert os.listdir(asked.parent) == ["rollout.json"]
    assert not folder.exists()


def test_the_newest_hundred_results_stay_and_nothing_else_is_touched(folder: Path) -> None:
    folder.mkdir(parents=True)
    others = ["resume-00000000.json", "rollout-mine.json", "rollout-00000000.json.bak"]
    for name in others:
        (folder / name).write_text("{}")
        os.utime(folder / name, (0, 0))
    for number in range(120):
        old = folder / f"rollout-{number:08x}.json"
        old.write_text("{}")
        os.utime(old, (1000 + number, 1000 + number))
    files().write_result({"run": "aaaaaaaa"})
    kept = {path.name for path in folder.glob("rollout-????????.json")}
    assert kept == {"rollout-aaaaaaaa.json", *(f"rollout-{number:08x}.json" for number in range(21, 120))}
    assert all((folder / name).exists() for name in others)
