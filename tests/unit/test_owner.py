# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The placeholders of the owner: one change sets them all, wherever they are."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
REPOSITORY = "https://github.com/acme-games/acme.power"
pytestmark = pytest.mark.skipif(not (CHECKOUT / "galaxy.yml").exists(), reason="what was installed has no galaxy.yml")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout."""
    place = tmp_path_factory.mktemp("owner") / "checkout"
    shutil.copytree(
        CHECKOUT, place, symlinks=True, ignore=shutil.ignore_patterns(".git", ".build", ".venv", ".nox", ".*_cache", "__pycache__")
    )
    return place


def own(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([checkout / "tests/tools/owner", *arguments], capture_output=True, text=True, check=False)


def texts(checkout: Path) -> Iterator[tuple[Path, str]]:
    for path in checkout.rglob("*"):
        if path.is_file() and path.suffix != ".png":
            yield path.relative_to(checkout), path.read_bytes().decode(errors="replace")


def test_one_change_sets_the_repository_and_the_namespace_everywhere(checkout: Path) -> None:
    done = own(checkout, REPOSITORY, "acme")
    assert done.returncode == 0, done.stderr
    galaxy = yaml.safe_load((checkout / "galaxy.yml").read_text())
    assert (galaxy["namespace"], galaxy["repository"], galaxy["issues"]) == ("acme", REPOSITORY, f"{REPOSITORY}/issues")
    assert galaxy["homepage"].startswith(REPOSITORY) and galaxy["documentation"].startswith(REPOSITORY)
    assert yaml.safe_load((checkout / "docs/docsite/links.yml").read_text())["edit_on_github"]["repository"] == "acme-games/acme.power"
    placeholder = re.compile(
        r"(?<![\w-])fleet\\*[./]power|example\.com/\w+/power|\"fleet\" / \"power\"|namespace: fleet$|(?:tag[/ ]`?|[(]@)fleet-power",
        re.MULTILINE,
    )
    left = {
        str(path): found[0]
        for path, text in texts(checkout)
        if path != Path("tests/unit/test_owner.py") and (found := placeholder.search(text))
    }
    assert left == {}
    assert "/etc/fleet-power/servers" in (checkout / "README.md").read_text()

    # The code is found under its new name.
    tree = checkout / "tree" / "ansible_collections" / "acme"
    tree.mkdir(parents=True)
    (tree / "power").symlink_to(checkout)
    program = "import ansible_collections.acme.power.plugins.module_utils.restore as it; print(it.RESTORE_ORIGIN)"
    ran = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(tree.parents[1])}, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "restore after boot\n"


def test_it_can_be_done_again_and_elsewhere_than_on_github(checkout: Path) -> None:
    on_github = (checkout / "docs/docsite/links.yml").read_text()
    done = own(checkout, "https://git.example.org/games/power")
    assert done.returncode == 0, done.stderr
    galaxy = yaml.safe_load((checkout / "galaxy.yml").read_text())
    assert (galaxy["repository"], galaxy["issues"]) == ("https://git.example.org/games/power", "https://git.example.org/games/power/issues")
    links = yaml.safe_load((checkout / "docs/docsite/links.yml").read_text())
    assert links["edit_on_github"] is None and links["extra_links"]
    assert REPOSITORY not in (checkout / "README.md").read_text()
    assert own(checkout, REPOSITORY).returncode == 0
    assert (checkout / "docs/docsite/links.yml").read_text() == on_github


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("example.com/a/b",),
        ("https://example.com/a/b#c",),
        ("https://github.com/acme",),
        (f"{REPOSITORY}.git",),
        (f"{REPOSITORY}/tree/main",),
        (REPOSITORY, "Acme"),
        (REPOSITORY, "1a"),
        (REPOSITORY, "a__b"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_changed(checkout: Path, arguments: tuple[str, ...]) -> None:
    before = dict(texts(checkout))
    done = own(checkout, *arguments)
    assert done.returncode == 1 and done.stderr.startswith("Cannot set the owner: ")
    assert dict(texts(checkout)) == before
