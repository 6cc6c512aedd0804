# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release: its changelog takes in the fragments, once, and the version that galaxy.yml names has one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")
CHECKOUT = Path(__file__).resolve().parents[2]
FRAGMENT = "---\nminor_changes:\n  - server_power - something new.\n"


def version_in(checkout: Path) -> str:
    return str(yaml.safe_load((checkout / "galaxy.yml").read_text())["version"])


def releases_in(checkout: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((checkout / "changelogs/changelog.yaml").read_text())["releases"]
    return found


def test_the_version_in_galaxy_yml_has_its_release_in_the_changelog() -> None:
    version = version_in(CHECKOUT)
    assert re.search(rf"^v{re.escape(version)}\n=", (CHECKOUT / "CHANGELOG.rst").read_text(), re.MULTILINE)
    assert releases_in(CHECKOUT)[version]["changes"]
    assert {module["name"] for module in releases_in(CHECKOUT)["1.0.0"]["modules"]} >= {"server_power", "server_power_info"}


def git(checkout: Path, *arguments: str) -> None:
    whoever = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", *whoever, *arguments], cwd=checkout, check=True, capture_output=True, timeout=60)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of its own, with the tools of this one."""
    if not (CHECKOUT / ".git").exists() or not (CHECKOUT / ".venv/bin/antsibull-changelog").exists():
        pytest.skip("this is no checkout with its tools")
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
def test_a_release_takes_in_the_fragments_and_removes_them(checkout: Path) -> None:
    git(checkout, "tag", version_in(checkout))
    (checkout / "changelogs/fragments/new.yml").write_text(FRAGMENT)
    made = changelog(checkout, "1.7.3")
    assert made.returncode == 0, made.stderr
    assert version_in(checkout) == "1.7.3"
    assert 'VERSION = "1.7.3"\n' in (checkout / "plugins/module_utils/_http_shim/servers/wings_view.py").read_text()
    assert releases_in(checkout)["1.7.3"]["changes"]["minor_changes"] == ["server_power - something new."]
    assert releases_in(checkout)["1.0.0"] == releases_in(CHECKOUT)["1.0.0"]
    assert "\nv1.7.3\n" in (checkout / "CHANGELOG.rst").read_text()
    assert [path.name for path in (checkout / "changelogs/fragments").iterdir()] == []


@pytest.mark.long
def test_a_version_that_nobody_has_yet_can_be_made_again_and_a_tagged_one_cannot(checkout: Path) -> None:
    version = version_in(checkout)
    summary = releases_in(checkout)[version]["changes"]["release_summary"]
    (checkout / "changelogs/fragments/new.yml").write_text(FRAGMENT)
    assert changelog(checkout).returncode == 0
    changes = releases_in(checkout)[version]["changes"]
    assert changes["release_summary"] == summary and "server_power - something new." in changes["minor_changes"]
    git(checkout, "tag", version)
    (checkout / "changelogs/fragments/late.yml").write_text(FRAGMENT)
    refused = changelog(checkout)
    assert refused.returncode != 0
    assert f"{version} is tagged" in refused.stderr and "VERSION=" in refused.stderr
    assert (checkout / "changelogs/fragments/late.yml").exists()


def changed(checkout: Path) -> str:
    return subprocess.run(["git", "status", "--porcelain"], cwd=checkout, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.long
def test_a_version_that_is_none_is_refused(checkout: Path) -> None:
    for version in (("next",), ("1.7",), ("01.7.3",), ("1.7.3", "1.7.4")):
        refused = changelog(checkout, *version)
        assert refused.returncode == 1 and refused.stderr.startswith("Cannot release: VERSION is to be like "), version
    assert changed(checkout) == ""


@pytest.mark.long
def test_a_version_below_the_last_one_or_after_one_that_nobody_has_is_refused(checkout: Path) -> None:
    (checkout / "changelogs/fragments/new.yml").write_text(FRAGMENT)
    for version in ("0.9.0", "1.0.0-rc1"):
        assert "VERSION is to be above 1.0.0" in changelog(checkout, version).stderr
    refused = changelog(checkout, "1.7.3")
    assert refused.returncode == 1 and "1.0.0, which is not tagged" in refused.stderr and "git checkout " in refused.stderr
    assert changed(checkout) == "?? changelogs/fragments/\n"


@pytest.mark.long
def test_what_is_not_committed_is_named_and_not_released(checkout: Path) -> None:
    git(checkout, "tag", version_in(checkout))
    (checkout / "notes.txt").write_text("of nobody's concern\n")
    refused = changelog(checkout, "1.7.3")
    assert refused.returncode == 1 and "notes.txt" in refused.stderr
    assert changed(checkout) == "?? notes.txt\n"


@pytest.mark.long
def test_where_a_fragment_is_wrong_nothing_is_written(checkout: Path) -> None:
    git(checkout, "tag", version_in(checkout))
    (checkout / "changelogs/fragments/wrong.yml").write_text("---\nnews:\n  - server_power - something new.\n")
    assert changelog(checkout, "1.7.3").returncode != 0
    assert changed(checkout) == "?? changelogs/fragments/\n"


@pytest.mark.long
def test_galaxy_would_take_the_file_and_warn_of_nothing(checkout: Path) -> None:
    (checkout / ".build").mkdir(exist_ok=True)
    target = checkout / ".build/package/ansible_collections/fleet/power"
    subprocess.run(["tests/tools/copy", "package"], cwd=checkout, check=True, timeout=60)
    command = [str(CHECKOUT / ".venv/bin/ansible-galaxy"), "collection", "build", "--output-path", str(checkout / ".build")]
    subprocess.run(command, cwd=target, check=True, capture_output=True, timeout=120)
    looked = subprocess.run(["tests/tools/release", "check"], cwd=checkout, capture_output=True, text=True, timeout=900, check=False)
    assert looked.returncode == 0, looked.stdout + looked.stderr
