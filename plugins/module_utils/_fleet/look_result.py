# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of server_power_info: servers and lists that it does not show. Unknown never counts as absent; pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from .._power.model.errors import Incomplete

#: Ansible puts it before each failure.
_PREFIX = "Task failed: "
LIST_INCOMPLETE = Incomplete.code
#: The code of an unseen server whose node gives none.
NOT_SEEN = "not_seen"


def reason_in(result: Mapping[str, Any], otherwise: str) -> str:
    """Return the reason in a result, or ``otherwise``."""
    return str(result.get("msg") or otherwise).removeprefix(_PREFIX)


def is_unseen(entry: Mapping[str, Any]) -> bool:
    """Tell whether an entry is a known server without facts."""
    return entry.get("state") is None


def code_of(entry: Mapping[str, Any]) -> str:
    return str(entry.get("code") or NOT_SEEN)


def reason_of(result: Mapping[str, Any]) -> str:
    """Return the reason of an unseen entry or of a result, in one line."""
    return " ".join(reason_in(result, "it gave no reason").split())


def called(entry: Mapping[str, Any]) -> str:
    """Return a server's name, else its short id, else the name in the request."""
    return str(entry.get("name") or entry.get("short_id") or entry.get("server"))


def list_fault(result: Mapping[str, Any]) -> str | None:
    """Return why the list of a node's servers is incomplete, in one line; None if it is complete."""
    return None if result.get("complete", True) else reason_of(result)


def unseen_in(result: Mapping[str, Any], among: Collection[str] | None = None) -> list[str]:
    """Return a sentence for each thing that a look did not show, or only for these servers (``among``, by UUID). An incomplete list
    matters for the servers that it lacks. A failed look shows nothing, even if its task ignores errors."""
    if "servers" not in result and not result.get("skipped"):
        return [f"Cannot see any server: {reason_of(result)}"] if among is None or among else []
    servers = result.get("servers") or []
    unseen = [each for each in servers if is_unseen(each) and (among is None or each.get("server") in among)]
    fault = list_fault(result)
    lacking = among is None or bool(set(among) - {each.get("server") for each in servers})
    sentences = [f"Cannot see server {called(each)}: {reason_of(each)} ({code_of(each)})" for each in unseen]
    return sentences if fault is None or not lacking else [*sentences, f"Cannot list all servers: {fault}"]
