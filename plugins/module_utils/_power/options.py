# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of actions and facts, declared once for all front doors; pure."""

from __future__ import annotations

from .definitions.stop_way import LONGEST_STOP_SECONDS
from .engine.connection import TIMEOUT
from .journal.schema import KEPT_OPERATIONS, KEPT_RUNS
from .model.option import Option
from .model.players import LONGEST_DELAY_SECONDS, MOST_PLAYERS, OnMaxDelay
from .model.request import LONGEST_SETTLE_SECONDS, LONGEST_STAGGER_SECONDS, POWER_ACTIONS, OnFailedStart, Request, WaitFor
from .model.server import PowerState

LONGEST_WAIT_SECONDS = 300
#: Seconds to wait for the lock; a value out of bounds becomes the default.
WAIT_SECONDS = Option("int", default=Request.wait_seconds, least=0, most=LONGEST_WAIT_SECONDS)
#: Seconds between the starts of two servers.
STAGGER = Option("int", default=0, least=0, most=LONGEST_STAGGER_SECONDS)
MAX_PARALLEL = Option("int", default=0, least=0)

SHARED_OPTIONS = {
    "config": Option("path"),
    # no_log here would mask every value in it, even "1" and the uuid, all over the result; see PowerModule.
    "definitions": Option("list", elements="dict", no_log=False),
    "definitions_dir": Option("path"),
    "api_url": Option("str"),
    "api_token": Option("str", no_log=True),
    # Those of the engine have no defaults here. The order is: option, DOCKER_* environment, node settings, default.
    "docker_host": Option("str", aliases=("docker_url",)),
    "tls": Option("bool"),
    "validate_certs": Option("bool", aliases=("tls_verify",)),
    "ca_path": Option("path", aliases=("ca_cert", "tls_ca_cert", "cacert_path")),
    "client_cert": Option("path", aliases=("tls_client_cert", "cert_path")),
    "client_key": Option("path", aliases=("tls_client_key", "key_path")),
    "tls_hostname": Option("str"),
    "api_version": Option("str", aliases=("docker_api_version",)),
    "timeout": TIMEOUT,
}
_SERVER = Option("list", elements="str", aliases=("servers", "uuid"))
POWER_OPTIONS = {
    "action": Option("str", required=True, choices=tuple(action.value for action in POWER_ACTIONS)),
    "only": Option("list", elements="str", choices=tuple(state.value for state in PowerState)),
    "if_meant_up": Option("bool", default=False),
    "outdated": Option("bool", default=Request.outdated),
    "retry_reverted": Option("bool", default=Request.retry_reverted),
    "max_parallel": MAX_PARALLEL,
    "max_failures": Option("int", least=0),
    "in_order": Option("bool", default=False),
    "stagger": STAGGER,
    "priorities": Option("dict"),
    "wait_seconds": WAIT_SECONDS,
    "stop_timeout": Option("int", least=0, most=LONGEST_STOP_SECONDS),
    "wait_for": Option("str", default=Request.wait_for.value, choices=tuple(each.value for each in WaitFor)),
    "wait_timeout": Option("int", default=Request.wait_timeout, least=0, most=LONGEST_STOP_SECONDS),
    "on_failed_start": Option("str", choices=tuple(each.value for each in OnFailedStart)),
    "settle": Option("int", least=0, most=LONGEST_SETTLE_SECONDS),
    "players_at_most": Option("int", least=0, most=MOST_PLAYERS),
    "max_delay": Option("int", least=0, most=LONGEST_DELAY_SECONDS),
    "on_max_delay": Option("str", choices=tuple(each.value for each in OnMaxDelay)),
    "warn": Option("list", elements="int"),
    "warn_message": Option("str"),
    "adopt": Option("bool", default=Request.adopt),
    "origin": Option("str"),
    "reason": Option("str"),
    "once": Option("str"),
    "phases": Option("bool", default=False),
    "server": _SERVER,
    **SHARED_OPTIONS,
}
LIMIT_OPTIONS = {
    "wait_seconds": WAIT_SECONDS,
    "origin": Option("str"),
    "reason": Option("str"),
    "server": _SERVER,
    **SHARED_OPTIONS,
}
INFO_OPTIONS = {
    "tail": Option("int", default=0, least=0, most=10_000),
    "operations": Option("int", default=0, least=0, most=KEPT_OPERATIONS),
    "crashes": Option("int", default=0, least=0, most=KEPT_RUNS),
    "server": _SERVER,
    **SHARED_OPTIONS,
}
