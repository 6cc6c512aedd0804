# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of the inventory plugin: the cache of readings, and the nodes from which the servers' hosts take their connections."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, MutableMapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.inventory.helpers import get_group_vars, sort_groups
from ansible.template import is_trusted_as_template, trust_as_template
from ansible.utils.display import Display
from ansible.utils.vars import combine_vars
from ansible.vars.plugins import get_vars_from_inventory_sources
from ansible_collections.fleet.power.plugins.module_utils._fleet.inventory.entry import (
    SCHEMA,
    SourceKind,
    SourceReading,
    from_plain,
    is_address,
    to_plain,
)
from ansible_collections.fleet.power.plugins.module_utils._fleet.inventory.options import InventoryOptions

#: Ansible must never connect to a server's own name: another machine may have it.
_NOWHERE = "node-unknown.invalid"
_NOT_A_CONNECTION = ("ansible_group_priority", "ansible_facts")


class ReadingCache:
    """The entry of one inventory file in Ansible's cache, valid for the options of its readings. ``name`` is the plugin's, for messages."""

    def __init__(self, name: str, cache: MutableMapping[str, Any], key: str, wanted: InventoryOptions) -> None:
        self._name = name
        self._cache = cache
        self._key = key
        self._identity = hashlib.sha256(json.dumps(wanted.identity(), default=str).encode()).hexdigest()

    def keep(self, readings: tuple[SourceReading, ...]) -> None:
        self._cache[self._key] = {"schema": SCHEMA, "identity": self._identity, "readings": to_plain(readings)}

    def kept(self) -> tuple[SourceReading, ...] | None:
        """Return the readings, None if another version or other options wrote them."""
        try:
            kept = self._cache[self._key]
            if kept["schema"] != SCHEMA or kept["identity"] != self._identity:
                Display().vv(f"{self._name}: the cache is of another version, or was written for other options; it is not used")
                return None
            return tuple(from_plain(kept["readings"]))
        except KeyError:
            return None
        except (AnsibleError, ValueError, TypeError) as error:
            Display().warning(f"{self._name}: the cache cannot be read and is written anew: {error}")
            return None


class Nodes:
    """The nodes in the inventory: their names there, and the connections of their servers' hosts."""

    def __init__(self, wanted: InventoryOptions, readings: tuple[SourceReading, ...], inventory: Any, loader: Any) -> None:
        self._inventory = inventory
        self._loader = loader
        self._given = {node.name: node for node in wanted.nodes}
        self._by_panel = {node.panel_node or node.name: node.name for node in wanted.nodes}
        self._addresses: dict[str, str] = {}
        self._connections: dict[str, Mapping[str, Any]] = {}
        #: The name in the inventory for a source's node, and the connection variables for the servers of a node.
        self.host_of = functools.cache(self._host_of)
        self.variables = functools.cache(self._variables)
        for reading in readings:
            # Another user may have written the cache.
            self._addresses.update({name: address for name, address in reading.addresses.items() if is_address(str(address))})
            self._connections.update(reading.connections)

    @property
    def names(self) -> set[str]:
        """Names that no server's host may have."""
        return {*self._given, *self._connections}

    def _host_of(self, kind: SourceKind, name: str) -> str:
        # Only the Panel has names of its own.
        if kind is not SourceKind.PANEL:
            return name
        address = self._addresses.get(name)
        if name in self._by_panel:
            return self._by_panel[name]
        hosts = self._inventory.hosts
        if name not in hosts and address is not None:
            if address in hosts:
                return address
            found = [host.name for host in hosts.values() if host.vars.get("ansible_host") == address and "server_uuid" not in host.vars]
            if len(found) == 1:
                return str(found[0])
        return name

    def _variables(self, node: str | None) -> dict[str, Any]:
        if node is None:
            return {"ansible_host": _NOWHERE}
        addresses = [address for name, address in self._addresses.items() if self.host_of(SourceKind.PANEL, name) == node]
        given = self._given.get(node)
        own = node if is_address(node) else _NOWHERE
        return {
            "ansible_host": addresses[0] if addresses else own,
            **self._connections.get(node, {}),
            **self._of_host(node),
            **({} if given is None else given.vars),
        }

    def _of_host(self, node: str) -> dict[str, Any]:
        """Return the connection variables of the node's host. Its templates must be evaluated for that host."""
        host = self._inventory.hosts.get(node)
        if host is None:
            return {}
        sources = [*self._inventory.processed_sources, self._inventory.current_source]
        groups = sort_groups({self._inventory.groups["all"], *host.get_groups()})
        variables = combine_vars(get_group_vars(groups), get_vars_from_inventory_sources(self._loader, sources, groups, "all"))
        variables = combine_vars(variables, combine_vars(host.vars, get_vars_from_inventory_sources(self._loader, sources, [host], "all")))
        reached = {name: value for name, value in variables.items() if name.startswith("ansible_") and name not in _NOT_A_CONNECTION}
        lazily = {
            name: trust_as_template(f"{{{{ hostvars[{str(node)!r}][{str(name)!r}] }}}}")
            for name, value in reached.items()
            if _is_template(value)
        }
        return {"ansible_host": node, **reached, **lazily}


def _is_template(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_is_template(each) for each in value.values())
    if isinstance(value, list):
        return any(_is_template(each) for each in value)
    return isinstance(value, str) and is_trusted_as_template(value) and ("{{" in value or "{%" in value)
