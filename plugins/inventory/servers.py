# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers as inventory hosts: reads the sources, and adds hosts, groups and variables to Ansible's inventory."""

from __future__ import annotations

DOCUMENTATION = r"""
name: servers
short_description: Servers as hosts
version_added: 1.0.0
author: The fleet.power contributors (@fleet-power)
description:
  - Makes a host of each server, with its node's connection variables and the variable C(server_uuid). So
    C(ansible lobby-1 -b -m fleet.power.server_power -a action=restart) acts on that server only.
  - Sources are the nodes' Docker Engines, their HTTP endpoints, a snapshot file and the Panel, also several of them. The Panel decides a
    server's node, a node that is asked decides what runs there, and a snapshot fills the gaps.
  - The file must end in C(fleet_power.yml) or C(fleet_power.yaml).
  - Each host costs a task of its own in every play. For more than a few servers use plays over nodes, whose task acts on all servers of a
    node. See R(the guide,ansible_collections.fleet.power.docsite.inventory_guide).
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [fleet.power.servers]
  nodes:
    description:
      - Nodes by the name of their inventory host.
      - If an earlier inventory source has the host, its servers get all variables of that host and its groups that begin with C(ansible_).
      - Each node is a map with these optional keys. A node with neither C(docker_host) nor C(url) is not asked.
      - C(docker_host) (text) is the address of its engine, with C(unix://), C(tcp://), C(http://), C(https://) or C(ssh://). The last uses
        the controller's C(ssh) and the node's C(docker) command.
      - C(tls), C(validate_certs) (booleans), C(ca_path), C(client_cert), C(client_key), C(tls_hostname), C(api_version) (text) are as in
        M(fleet.power.server_power).
      - C(ssh_args) (text) replaces O(ssh_args).
      - C(url) and C(token) (text) are the address of its HTTP endpoint, of Wings or of this collection, and the node's token.
        C(validate_certs) is V(true) by default then.
      - C(panel_node) (text) is the Panel's name of the node, if it differs.
      - C(vars) (a map) are variables for the hosts of its servers, with precedence. Their templates are evaluated for the server's host.
      - Templates in the other keys are evaluated when the file is read, with extra variables only.
    type: dict
    default: {}
  ssh_args:
    description:
      - Arguments for C(ssh), for nodes whose C(docker_host) begins with C(ssh://).
      - C(ssh) never asks for a password here.
    type: str
  snapshot:
    description:
      - A file of the playbook C(fleet.power.status) with C(status_snapshot). A relative path starts at the directory of the inventory file.
    type: str
  snapshot_max_age:
    description: Seconds after which there is a warning about an old snapshot. V(0) means never.
    type: int
    default: 3600
  panel_url:
    description: The Panel's address.
    type: str
    env:
      - name: FLEET_POWER_PANEL_URL
  panel_api_key:
    description: A key for the Panel's Application API that may read servers, nodes, nests and eggs.
    type: str
    env:
      - name: FLEET_POWER_PANEL_API_KEY
  panel_validate_certs:
    description: Whether the Panel's certificate is verified.
    type: bool
    default: true
  panel_ca_path:
    description: A file or directory of certificates for the Panel, instead of the system's.
    type: path
  hostnames:
    description:
      - Sources of a host's name. The first safe name that no other server, host or group has is used, else the UUID.
      - V(name) is the server's name, if it consists of letters, digits, dots, hyphens and underscores, and does not look like a short id or
        a UUID.
      - V(slug) is the name in small letters, with hyphens for all other characters. C(Cobalt Survival) becomes C(cobalt-survival).
      - V(short_id) is the first part of the UUID, V(uuid) all of it.
      - C(label:NAME) is the value of a label.
      - Owners of servers may change names. If that is a risk, use only V(short_id) or V(uuid).
    type: list
    elements: str
    default: [name, short_id, uuid]
  timeout:
    description:
      - Timeout of one request to an engine, an endpoint or the Panel in seconds, V(1) to V(600). The Panel gets at most three requests.
    type: int
    default: 10
  unreachable:
    description:
      - What happens if a source cannot be read. With V(warn) there is a warning, its name is in the variable C(fleet_power_unread) of all
        hosts, and nothing is cached. With V(fail) the whole file fails.
      - This also applies to a node of a snapshot with an incomplete list of servers. A server that could not be read is still a host, in
        the group C(power_unknown) and in no group of states.
      - If no source can be read, the file always fails.
    type: str
    choices: [warn, fail]
    default: warn
requirements:
  - C(docker) and C(requests) (Python libraries) on the controller for nodes whose C(docker_host) does not begin with C(ssh://)
  - C(requests) (Python library) on the controller for endpoints and the Panel
  - the C(ssh) command on the controller for C(ssh://)
notes:
  - Names and labels are never evaluated as templates.
  - The hosts are in no group of their nodes, so plays over nodes do not contain them.
seealso:
  - module: fleet.power.server_power
  - module: fleet.power.server_power_info
"""

EXAMPLES = r"""
# nodes.fleet_power.yml: three nodes, each asked in another way
plugin: fleet.power.servers
nodes:
  node-1:
    docker_host: ssh://root@10.0.0.11
  node-2:
    docker_host: tcp://10.0.0.12:2376
    tls: true
    validate_certs: true
  node-3:
    url: https://node-3.example.org:8080
    token: "{{ lookup('ansible.builtin.env', 'NODE_3_TOKEN') }}"
---
# panel.fleet_power.yml: the Panel says which servers there are; the key is in FLEET_POWER_PANEL_API_KEY
plugin: fleet.power.servers
panel_url: https://panel.example.org
hostnames: [slug, short_id]
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/fleet-power
cache_timeout: 600
nodes:
  node-1:
    panel_node: Frankfurt 1
---
# status.fleet_power.yml: as the playbook fleet.power.status saw the fleet, and groups of one's own
plugin: fleet.power.servers
snapshot: fleet.json
unreachable: fail
groups:
  proxies: (server_priority or 100) < 10
keyed_groups:
  - key: server_image
    prefix: image
"""

import os
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible_collections.fleet.power.plugins.module_utils._fleet.inventory.entry import (
    POWER_OUTDATED,
    POWER_UNKNOWN,
    Picture,
    ServerEntry,
    groups_of,
    host_names,
    picture_of,
    variables_of,
)
from ansible_collections.fleet.power.plugins.module_utils._fleet.inventory.options import InventoryOptions, wanted_of
from ansible_collections.fleet.power.plugins.module_utils._fleet.inventory.reading import Read, read_all
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import PowerError
from ansible_collections.fleet.power.plugins.module_utils._power.model.option import refuse_unknown
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState
from ansible_collections.fleet.power.plugins.plugin_utils._inventory import Nodes, ReadingCache

_ENDINGS = ("fleet_power.yml", "fleet_power.yaml")
#: Only the values of these options are evaluated as templates.
_TEMPLATED = ("ssh_args", "snapshot", "panel_url", "panel_api_key")
_UNREAD = "fleet_power_unread"


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc]
    NAME = "fleet.power.servers"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and path.endswith(_ENDINGS)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Read all sources, or the cache; add hosts, groups and variables. Raises `AnsibleParserError` with one sentence."""
        super().parse(inventory, loader, path, cache)
        config = self._read_config_data(path)
        try:
            refuse_unknown(list(config), list(self._options), os.path.basename(path))
            wanted = wanted_of(self._chosen(), lambda name: os.path.join(os.path.dirname(os.path.abspath(path)), os.path.expanduser(name)))
        except PowerError as error:
            raise AnsibleParserError(str(error)) from None
        read = self._read(wanted, path, cache)
        nodes = Nodes(wanted, read.readings, inventory, loader)
        picture = picture_of(read.readings, nodes.host_of)
        for warning in (*(each for reading in read.readings for each in reading.warnings), *picture.warnings):
            self.display.warning(f"{self.NAME}: {warning}")
        self._tell_unread(read)
        self._add(picture, wanted, nodes)

    def _chosen(self) -> dict[str, Any]:
        options = {name: self.get_option(name) for name in self._options}
        self.templar.available_variables = self._vars
        for name in _TEMPLATED:
            options[name] = self._evaluated(name, options[name])
        if isinstance(options["nodes"], Mapping):
            options["nodes"] = {name: self._node(name, node) for name, node in options["nodes"].items()}
        return options

    def _node(self, name: str, node: Any) -> Any:
        if not isinstance(node, Mapping):
            return node
        return {key: value if key == "vars" else self._evaluated(f"nodes.{name}.{key}", value) for key, value in node.items()}

    def _evaluated(self, option: str, value: Any) -> Any:
        try:
            return self.templar.template(value)
        except AnsibleError as error:
            raise AnsibleParserError(f"Cannot use {option}: its template cannot be evaluated: {error.message}") from None

    # ----- reading

    def _read(self, wanted: InventoryOptions, path: str, cache: bool) -> Read:
        """Return the cache's content, or read all sources. Only a complete reading goes into the cache."""
        kept = ReadingCache(self.NAME, self._cache, self.get_cache_key(path), wanted) if self.get_option("cache") else None
        readings = None if kept is None or not cache else kept.kept()
        if readings is not None:
            return Read(readings, {})
        read = read_all(wanted)
        absent = {**read.partial, **read.absent}
        if absent and (not read.readings or self.get_option("unreachable") == "fail"):
            raise AnsibleParserError("; ".join(absent.values()))
        if kept is not None and not absent:
            kept.keep(read.readings)
        return read

    def _tell_unread(self, read: Read) -> None:
        """Report each unread source and node in a warning, and in a variable for plays."""
        for said, sources in (("is not in the inventory", read.absent), ("may have servers that are not in the inventory", read.partial)):
            for source, sentence in sources.items():
                self.display.warning(f"{self.NAME}: {source} {said}: {sentence}")
        earlier = self.inventory.groups["all"].vars.get(_UNREAD) or ()
        self.inventory.set_variable("all", _UNREAD, sorted({*earlier, *read.absent, *read.partial}))

    # ----- adding

    def _add(self, picture: Picture, wanted: InventoryOptions, nodes: Nodes) -> None:
        groups = self._groups(picture, knows_state=picture.knows_state or any(node.is_looked_at for node in wanted.nodes))
        known = {str(host.vars["server_uuid"]): name for name, host in self.inventory.hosts.items() if "server_uuid" in host.vars}
        taken = {*self.inventory.hosts, *self.inventory.groups, *nodes.names}
        names = {**host_names(picture.entries, wanted.hostnames, taken), **known}
        for entry in picture.entries:
            host = names[entry.uuid]
            self.inventory.add_host(host)
            self._set_variables(host, entry, nodes, is_known=entry.uuid in known)
            for group in groups[entry.uuid]:
                self.inventory.add_child(group, host)
        if any(self.get_option(name) for name in ("compose", "groups", "keyed_groups")):
            for entry in picture.entries:
                self._construct(names[entry.uuid])

    def _groups(self, picture: Picture, *, knows_state: bool) -> dict[str, list[str]]:
        """Return the groups of each server. Also add empty groups, so that a pattern such as ``state_running:!suspended`` finds them."""
        always = [*(f"state_{state.value}" for state in PowerState), POWER_UNKNOWN] if knows_state else []
        always += ["suspended"] if picture.knows_suspension else []
        always += [POWER_OUTDATED] if picture.knows_outdated else []
        for name in always:
            self.inventory.add_group(name)
        safe: dict[str, str] = {}
        groups: dict[str, list[str]] = {}
        for entry in picture.entries:
            groups[entry.uuid] = []
            for name in groups_of(entry, knows_state=knows_state):
                if name not in safe:
                    safe[name] = self.inventory.add_group(self._sanitize_group_name(name))
                groups[entry.uuid].append(safe[name])
        return groups

    def _set_variables(self, host: str, entry: ServerEntry, nodes: Nodes, *, is_known: bool) -> None:
        for name, value in {**nodes.variables(entry.node), **variables_of(entry)}.items():
            if value is not None or not is_known:
                self.inventory.set_variable(host, name, value)

    def _construct(self, host: str) -> None:
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), self.inventory.hosts[host].get_vars(), host, strict=strict)
        variables = self.inventory.hosts[host].get_vars()
        self._add_host_to_composed_groups(self.get_option("groups"), variables, host, strict=strict, fetch_hostvars=False)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, host, strict=strict, fetch_hostvars=False)
