# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin in the process of the test, with options from its own documentation, as Ansible runs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible import constants
from ansible._internal._datatag._tags import Origin
from ansible.errors import AnsibleError
from ansible.inventory.data import InventoryData
from ansible.inventory.manager import _InventoryDataWrapper
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.doc_fragments import constructed, inventory_cache
from ansible.template import Templar
from ansible_collections.fleet.power.plugins.inventory import servers

NAME = servers.InventoryModule.NAME
_FILE = "servers.fleet_power.yml"


@dataclass(frozen=True)
class Parsed:
    data: Any
    warnings: tuple[str, ...]
    loader: Any

    @property
    def hosts(self) -> list[str]:
        return sorted(name for name, host in self.data.hosts.items() if "server_uuid" in host.vars)

    def group(self, name: str) -> list[str]:
        """The hosts of a group, which must exist."""
        return sorted(host.name for host in self.data.groups[name].get_hosts())

    def variables(self, host: str) -> dict[str, Any]:
        found: dict[str, Any] = dict(self.data.hosts[host].vars)
        return found

    def seen(self, host: str, variable: str) -> Any:
        every = {name: each.get_vars() for name, each in self.data.hosts.items()}
        templar = Templar(loader=self.loader, variables={**self.variables(host), "hostvars": every, "inventory_hostname": host})
        return templar.template(self.variables(host)[variable])

    @property
    def unread(self) -> list[str]:
        found: list[str] = self.data.groups["all"].vars["fleet_power_unread"]
        return found


class Inventory:
    """A directory with an inventory file for the plugin."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / _FILE
        self.extra: dict[str, Any] = {}
        _register()

    def write(self, text: str | None = None, **options: Any) -> None:
        self.path.write_text(json.dumps({"plugin": NAME, **options}) if text is None else text)

    def read(self, earlier: Mapping[str, Any] | None = None, *, fresh: bool = False, **options: Any) -> Parsed:
        """Read the file. ``fresh`` ignores the cache. ``earlier`` has variables and ``groups`` of hosts of an earlier inventory."""
        if options or not self.path.exists():
            self.write(**options)
        data = InventoryData()
        for name, variables in (earlier or {}).items():
            _add(data, name, dict(variables))
        loader, plugin, warnings = DataLoader(), servers.InventoryModule(), []
        plugin._load_name = plugin._original_path = NAME
        plugin._redirected_names = [NAME]
        plugin.ansible_name = NAME
        plugin.display = _Display(warnings)
        assert plugin.verify_file(str(self.path))
        data.current_source = str(self.path)
        wrapper = _InventoryDataWrapper(data, target_plugin=plugin, origin=Origin(description="a test"))
        plugin.parse(wrapper, loader, str(self.path), not fresh)
        if getattr(plugin, "_cache", None) is not None:
            plugin.update_cache_if_changed()
        data.reconcile_inventory()
        return Parsed(data, tuple(warnings), loader)

    def fault(self, earlier: Mapping[str, Any] | None = None, **options: Any) -> str:
        try:
            self.read(earlier, **options)
        except AnsibleError as error:
            assert error.__cause__ is None and (error.__context__ is None or error.__suppress_context__), (
                "Ansible would also show the cause"
            )
            return str(error.message)
        raise AssertionError("the inventory was read without an error")


class _Display:
    def __init__(self, warnings: list[str]) -> None:
        self._warnings = warnings

    def warning(self, message: str) -> None:
        self._warnings.append(message)

    def vv(self, message: str) -> None:
        """Ignore verbose output."""


def _add(data: InventoryData, name: str, variables: dict[str, Any]) -> None:
    groups = variables.pop("groups", ())
    data.add_host(name)
    for group in groups:
        data.add_group(group)
        data.add_child(group, name)
    for variable, value in variables.items():
        data.set_variable(name, variable, value)


def _register() -> None:
    """Register the options under the plugin's name, as the plugin loader does."""
    fragments = [constructed.ModuleDocFragment.DOCUMENTATION, inventory_cache.ModuleDocFragment.DOCUMENTATION]
    options: dict[str, Any] = {}
    for text in (*fragments, servers.DOCUMENTATION):
        options |= yaml.safe_load(text)["options"]
    constants.config.initialize_plugin_configuration_definitions("inventory", NAME, options)
