# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's own note of a stop is read, or not known; nothing that lies there does harm."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.host.engine_process import manual_stop_mark

ID = "ab" * 32


def note(root: Path, text: str | bytes, container: str = ID) -> Path:
    """Write a container's file as the engine has it."""
    path = root / "containers" / container / "config.v2.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def noted(mark: object, **others: object) -> str:
    return json.dumps({"ID": ID, "State": {}, "HasBeenManuallyStopped": mark, **others})


@pytest.mark.parametrize("mark", [True, False])
def test_the_mark_is_what_the_engine_noted(tmp_path: Path, mark: bool) -> None:
    note(tmp_path, noted(mark))
    assert manual_stop_mark(str(tmp_path), ID) is mark


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        b"\xff\xfe",
        "[" * 100_000,
        noted(1),
        noted(None),
        noted(True, ID="cd" * 32),
        noted(True, Config="x" * (8 * 1024 * 1024)),
    ],
    ids=range(8),
)
def test_what_does_not_say_it_is_not_known(tmp_path: Path, text: str | bytes) -> None:
    note(tmp_path, text)
    assert manual_stop_mark(str(tmp_path), ID) is None


@pytest.mark.parametrize("container", ["", "ab", "../" + ID, ID.upper(), ID + "\n"])
def test_only_a_full_id_names_a_file(tmp_path: Path, container: str) -> None:
    note(tmp_path, noted(True))
    assert manual_stop_mark(str(tmp_path), container) is None


def test_no_link_is_followed_and_no_pipe_waited_for(tmp_path: Path) -> None:
    path = note(tmp_path, noted(True))
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert manual_stop_mark(str(tmp_path), ID) is None
    path.unlink()
    os.mkfifo(path)
    assert manual_stop_mark(str(tmp_path), ID) is None


@pytest.mark.parametrize("root", ["", "containers", "/nowhere", "/\0"])
def test_a_root_that_is_none_has_no_marks(root: str) -> None:
    assert manual_stop_mark(root, ID) is None
