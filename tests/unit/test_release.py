# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release: the changelog includes the fragments."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")
CHECKOUT = Path(__file__).resolve().parents[2]


def version_in(checkout: Path) -> str:
    return str(yaml.safe_load((checkout / "galaxy.yml").read_text())["version"])


def releases_in(checkout: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((checkout / "changelogs/changelog.yaml").read_text())["releases"]
    return found


def test_the_changelog_has_the_release_of_galaxy_yml() -> None:
    version = version_in(CHECKOUT)
    assert re.search(rf"^v{re.escape(version)}\n=", (CHECKOUT / "CHANGELOG.rst").read_text(), re.MULTILINE)
    assert releases_in(CHECKOUT)[version]["changes"]
    assert {module["name"] for module in releases_in(CHECKOUT)["1.0.0"]["modules"]} >= {"server_power", "server_power_info"}


def git(checkout: Path, *arguments: str) -> None:
    author = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", *author, *arguments], cwd=checkout, check=True, capture_output=True, timeout=60)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    if not (CHECKOUT / ".git").exists() or not (CHECKOUT / ".venv/bin/antsibull-changelog").exists():
        pytest.skip("this is not a checkout with its tools")
    copy = tmp_path / "checkout"
    shutil.copytree(CHECKOUT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "fixtures", "*.tar.gz"))
    (copy / ".venv").symlink_to(CHECKOUT / ".venv")
    git(copy, "init", "--quiet")
    (copy / ".git/info/exclude").write_text(".venv\n.build/\n__pycache__/\n")
    git(copy, "add", "--all")
    git(copy, "commit", "--quiet", "--message", "all")
    return copy


def changelog(checkout: Path, *version: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["tests/tools/release", "changelog", *version], cwd=checkout, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.long
def test_a_release_moves_the_fragments_into_the_changelog(checkout: Path) -> None:
    git(checkout, "tag", version_in(checkout))
    made = changelog(checkout, "1.7.0")
    assert made.returncode == 0, made.stdout + made.stderr
    assert version_in(checkout) == "1.7.0"
    assert releases_in(checkout)["1.7.0"]["changes"]["minor_changes"]
    assert list((checkout / "changelogs/fragments").glob("*.yml")) == []
    assert "is tagged" in changelog(checkout, "1.0.0").stderr
