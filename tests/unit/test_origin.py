# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asks, told from the environment of a login."""

from __future__ import annotations

import os
import pwd

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import default_origin

ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.parametrize(
    "environ, origin",
    [
        ({}, ME),
        ({"SUDO_USER": "alice"}, "alice"),
        ({"SUDO_USER": ""}, ME),
        ({"SSH_CONNECTION": "192.0.2.7 50022 192.0.2.1 22"}, f"{ME} from 192.0.2.7"),
        ({"SSH_CLIENT": "192.0.2.7 50022 22"}, f"{ME} from 192.0.2.7"),
        ({"SUDO_USER": "alice", "SSH_CONNECTION": "2001:db8::7 50022 2001:db8::1 22"}, "alice from 2001:db8::7"),
    ],
)
def test_sudo_user_before_login_user_and_the_clients_address(environ: dict[str, str], origin: str) -> None:
    assert default_origin(environ) == origin


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 2_000_000_001)
    assert default_origin({}) == "2000000001"
