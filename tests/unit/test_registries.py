# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose credentials go with a pull: those of the longest name that begins the image's reference in whole parts."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.boot.container import credentials_for

HOST = "registry.example.com"


@pytest.mark.parametrize(
    "name, reference",
    [
        (HOST, f"{HOST}/team/game:1"),
        (f"{HOST}/team", f"{HOST}/team/game"),
        (f"{HOST}/team/game", f"{HOST}/team/game@sha256:1"),
        (f"{HOST}:5000", f"{HOST}:5000/game"),
        ("game", "game:1"),
    ],
)
def test_a_name_that_begins_a_reference_in_whole_parts_has_its_credentials(name: str, reference: str) -> None:
    assert credentials_for(reference, {name: {"username": "bot"}}) == {"username": "bot"}


@pytest.mark.parametrize(
    "name, reference",
    [
        (HOST, f"{HOST}.evil.net/game"),
        (HOST, f"evil.net/{HOST}/game"),
        (f"{HOST}:500", f"{HOST}:5000/game"),
        (f"{HOST}/team", f"{HOST}/teams/game"),
        ("", f"{HOST}/game"),
    ],
)
def test_no_other_image_has_them(name: str, reference: str) -> None:
    assert credentials_for(reference, {name: {"username": "bot"}}) is None


def test_the_longest_name_counts_whatever_their_order() -> None:
    registries = {"ghcr.io/acme/game": {"username": "game"}, "ghcr.io": {"username": "all"}, "ghcr.io/acme": {"username": "acme"}}
    for image, user in {"ghcr.io/acme/game:1": "game", "ghcr.io/acme/web": "acme", "ghcr.io/acmes/web": "all"}.items():
        assert credentials_for(image, registries) == {"username": user}
        assert credentials_for(image, dict(reversed(registries.items()))) == {"username": user}
