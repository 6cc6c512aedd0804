# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The containers of a Docker Engine, as they are made, changed and removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..container.container_network import NetworkSpec
from ..model.cancellation import Deadline
from ..model.clock import SYSTEM_CLOCK
from ..model.errors import EngineError, EngineUnreachable
from ..model.schema import one_line
from .engine_calls import EngineCalls

#: Seconds between two looks at a removal that somebody else has asked for.
_LOOK_SECONDS = 0.05


class DockerContainers:
    """Makes and removes containers, and the networks they need; see `Containers`."""

    def __init__(self, calls: EngineCalls) -> None:
        self._calls = calls

    def create(self, name: str, config: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Create a container; its id, and what the engine warns of."""
        with self._calls.asking(f"create container {name}") as client:
            answer = client.create_container_from_config(dict(config), name)
        return str(answer["Id"]), [one_line(str(warning)) for warning in answer.get("Warnings") or []]

    def remove(self, name: str, *, volumes: bool) -> bool:
        """Remove a container that does not run; False if it runs (409, unless a removal is in progress, which is waited for)."""
        deadline = Deadline.after(SYSTEM_CLOCK, self._calls.timeout)
        while True:
            try:
                self._calls.carry_out(
                    f"remove container {name}", lambda client: client.remove_container(name, v=volumes, force=False), gone=(404,)
                )
                return True
            except EngineError as error:
                if error.facts.get("status") != 409:
                    raise
                if "already in progress" not in str(error):
                    return False
                if deadline.is_over:
                    raise EngineUnreachable(f"Cannot remove container {name}: its removal has been in progress for too long") from error
                deadline.pause(_LOOK_SECONDS)

    def rename(self, name: str, new_name: str) -> None:
        """Give a container another name."""
        with self._calls.asking(f"rename container {name}") as client:
            client.rename(name, new_name)

    def forbid_restart(self, name: str) -> None:
        """Set the container's restart policy to ``no``."""
        self._calls.carry_out(
            f"set the restart policy of container {name}",
            lambda client: client.update_container(name, restart_policy={"Name": "no"}),
            gone=(404,),
        )

    def set_limits(self, name: str, body: Mapping[str, Any]) -> list[str]:
        """Change the limits of a container; see `Containers`. Not by the library's own call, which knows no limit of pids."""
        with self._calls.asking(f"change the limits of container {name}") as client:
            answer = client._result(client._post_json(client._url("/containers/{0}/update", name), data=dict(body)), json=True)
        return [one_line(str(warning)) for warning in answer.get("Warnings") or []]

    def ensure_network(self, network: NetworkSpec) -> bool:
        """Create a network if it is not there; True if it was created (a 409 means that somebody else just did)."""
        if self._calls.carry_out(f"inspect network {network.name}", lambda client: client.inspect_network(network.name), gone=(404,)):
            return False
        body = {"Name": network.name, "CheckDuplicate": True, **network.body}

        def create(client: Any) -> None:
            client._raise_for_status(client._post_json(client._url("/networks/create"), data=body))

        return self._calls.carry_out(f"create network {network.name}", create, gone=(409,))
