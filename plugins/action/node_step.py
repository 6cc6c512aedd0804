# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes the steps of role node that need no node: it reads definitions and settings on the controller.

It reads the variables itself, because they hold secrets and Ansible may show a task's arguments.
"""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.parsing.vault import is_encrypted
from ansible.plugins.action import ActionBase
from ansible_collections.fleet.power.plugins.module_utils._fleet.node_findings import EXTENSIONS, LARGEST, NodeFindings, in_one, listed_uuid
from ansible_collections.fleet.power.plugins.module_utils._fleet.table import plural
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import parse_uuid
from ansible_collections.fleet.power.plugins.plugin_utils._output import speak
from ansible_collections.fleet.power.plugins.plugin_utils._variables import given_fault, plain_value

#: In bytes. Ansible Vault makes a text about four times as large.
_LARGEST_FILE = 8 * LARGEST
_STEPS = ("definitions", "validate", "together")


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _unused, options = self.validate_argument_spec({"step": {"type": "str", "required": True, "choices": _STEPS}})
        self._vars = task_vars or {}
        self._node = str(self._vars["inventory_hostname"])
        self._found = NodeFindings()
        return {**result, "changed": False, **getattr(self, f"_{options['step']}")()}

    def _definitions(self) -> dict[str, Any]:
        files, listed = self._read_definitions()
        found = self._found
        facts = {"files": files, "listed": listed, "broken": found.broken, "refused": in_one(found.refused), "faults": in_one(found.faults)}
        return {**facts, "given": bool(self._value("node_definitions_dir") or self._value("node_definitions"))}

    def _validate(self) -> dict[str, Any]:
        misspelt = given_fault(self._loader, self._vars)
        if misspelt:
            return {"failed": True, "msg": misspelt}
        found = self._found
        try:
            self._read_definitions()
        except AnsibleError as error:
            found.refuse(self._node, f"the definitions cannot be read: {error.message}")
        found.end()
        given = [
            bool(found.servers or found.refused),
            self._look_at("node_settings", found.look_at_settings),
            self._look_at("node_priorities", lambda name, value: found.look_at_settings(name, {"system": {"priorities": value}})),
            self._look_at("node_event_receivers", found.look_at_receivers),
        ]
        speak("\n".join(self._lines(any(given))))
        return {
            "servers": found.servers,
            "given": any(given),
            "failure": found.failure(self._node),
            "faults": [vars(each) for each in found.faults],
            "doubts": [vars(each) for each in found.warnings],
        }

    def _together(self) -> dict[str, Any]:
        """Warn of servers that several nodes get. Fail if no node gets anything: the variables are probably in the wrong place."""
        nodes = self._vars["ansible_play_hosts_all"]
        looked = {str(node): dict(self._vars["hostvars"][node].get("__node_validated") or {}) for node in nodes}
        if not any(each.get("given") for each in looked.values()):
            unset = f"no definitions and no settings are given for {', '.join(looked)}"
            msg = f"Cannot check anything: {unset}; give the deploy's inventory, or -e node_definitions_dir=DIRECTORY"
            return {"failed": True, "msg": msg}
        count = Counter(uuid for each in looked.values() for uuid in each.get("servers", ()))
        twice = {
            uuid: [node for node, each in looked.items() if uuid in each.get("servers", ())] for uuid, times in count.items() if times > 1
        }
        return {"warnings": [f"Server {uuid} is given to several nodes: {', '.join(which)}" for uuid, which in sorted(twice.items())]}

    def _lines(self, given: bool) -> list[str]:
        found = self._found
        counts = (
            f"{plural(len(found.servers), 'definition')}, {plural(len(found.faults), 'fault')}, {plural(len(found.warnings), 'warning')}"
        )
        lines = [f"  fault: {each.sentence}" for each in found.faults] + [f"  warning: {each.sentence}" for each in found.warnings]
        return [f"{self._node}: {counts if given or lines else 'no definitions and no settings are given'}", *lines]

    # ----- reading

    def _value(self, name: str) -> Any:
        """Return the evaluated variable of this node, None if it is not set. Raises `AnsibleError`."""
        return plain_value(self._templar.template(self._vars[name])) if self._vars.get(name) else None

    def _read_definitions(self) -> tuple[list[str], list[str]]:
        """Check all definitions; return the names of the directory's files, and the UUIDs of the list. Raises `AnsibleError`."""
        directory, listed = self._value("node_definitions_dir") or "", self._value("node_definitions") or []
        files = self._list(directory) if directory else []
        if directory and not (files or listed or self._found.refused) and boolean(self._value("node_definitions_purge"), strict=False):
            # An empty directory is more often a mistake than a wish.
            self._found.refuse(directory, "it has no definition, and node_definitions_purge would remove all of the node")
        for name in files:
            place, uuid = os.path.join(directory, name), parse_uuid(os.path.splitext(name)[0])
            if uuid is None or not name.startswith(uuid):
                self._found.refuse(place, "it would have no effect; name it by its server's uuid, in lower case, or move it elsewhere")
            else:
                self._look_at_file(place, name, uuid)
        return files, self._look_at_list(listed)

    def _list(self, directory: str) -> list[str]:
        try:
            names = os.listdir(directory)
        except OSError as error:
            why = "it is not a directory on the controller" if not os.path.isdir(directory) else f"it cannot be read: {error.strerror}"
            self._found.refuse(directory, f"{why}; set node_definitions_dir to a directory, with its full path")
            return []
        found = sorted(name for name in names if name.endswith(EXTENSIONS) and not name.startswith("."))
        # A name that is not UTF-8 is no UUID. The message must still show it.
        return [os.fsencode(name).decode(errors="backslashreplace") for name in found]

    def _look_at_file(self, place: str, name: str, uuid: str) -> None:
        path = os.path.realpath(os.path.dirname(place)) + "/" + name
        try:
            # A link can lead to any file of the controller.
            if not stat.S_ISREG(os.lstat(path).st_mode):
                self._found.refuse(place, "it is not a regular file, and links are not followed")
                return
            with open(path, "rb") as file:
                content: bytes | str = file.read(_LARGEST_FILE + 1)
        except OSError as error:
            self._found.refuse(place, f"it cannot be read: {error.strerror}")
            return
        # The check of the size reports a larger file, so there is no need to decrypt it.
        if len(content) <= _LARGEST_FILE and is_encrypted(content):
            try:
                content = self._loader.get_text_file_contents(path).encode()
            except AnsibleError:
                content = "it is encrypted by Ansible Vault, and cannot be decrypted with the secrets that are given"
        self._found.look_at_definition(place, name, uuid, content)

    def _look_at_list(self, listed: Any) -> list[str]:
        if not isinstance(listed, list):
            self._found.refuse("node_definitions", "it is not a list of definitions")
            return []
        uuids = [listed_uuid(raw) or "" for raw in listed]
        for index, (uuid, raw) in enumerate(zip(uuids, listed)):
            place = f"node_definitions[{index}]"
            if uuid:
                # The node reads it in this form.
                self._found.look_at_definition(place, f"{uuid}.json", uuid, json.dumps(raw, default=str).encode())
            else:
                self._found.refuse(place, "it has no settings.uuid that is a uuid, such as 01234567-89ab-4cde-8f01-23456789abcd")
        return uuids

    def _look_at(self, name: str, look: Callable[[str, Any], None]) -> bool:
        try:
            value = self._value(name)
        except AnsibleError as error:
            self._found.refuse(name, f"it cannot be evaluated: {error.message}")
            return True
        if value:
            look(name, value)
        return bool(value)
