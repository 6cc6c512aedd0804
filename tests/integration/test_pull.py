# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pull by the real engine from a registry that means no good: what it is given, and what becomes of its words."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .lab import Lab
from .registry import Registry, registry
from .test_container import ended


@pytest.fixture(name="stranger")
def strange_registry() -> Iterator[Registry]:
    with registry() as found:
        yield found


def trust(lab: Lab, *names: str) -> None:
    """Have credentials for these beginnings of images' names, the name being the user."""
    lab.write_settings(docker={"registries": {name: {"username": name, "password": "hunter22"} for name in names}})


def test_credentials_of_a_registry_do_not_reach_one_whose_name_only_begins_like_it(lab: Lab, stranger: Registry) -> None:
    trust(lab, stranger.address[:-1])
    result = lab.power("start", lab.server(image=f"{stranger.address}/team/game:1"))
    assert ended(result) == ("refused", "image_unavailable")
    assert stranger.asked
    assert stranger.given == []


def test_credentials_of_the_longest_name_reach_their_registry(lab: Lab, stranger: Registry) -> None:
    host = stranger.address
    trust(lab, host, f"{host}/team", f"{host}/team/gam", f"{host}/team/game:1/x")
    assert ended(lab.power("start", lab.server(image=f"{host}/team/game:1"))) == ("refused", "image_unavailable")
    assert set(stranger.given) == {f"{host}/team:hunter22"}
