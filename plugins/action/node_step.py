# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes the steps of role node that need no node: it reads definitions and settings on the controller.

It reads the variables itself, because they hold secrets and Ansible may show a task's arguments.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections import Counter
from collections.abc import Callable
from datetime import date
from tempfile import NamedTemporaryFile
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
#: Of a link, and of what is no regular file.
_IRREGULAR = (errno.ELOOP, errno.EINVAL)
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
        #: The usable definitions: the text that was checked, by the name of the node's file.
        self._files: dict[str, str] = {}
        return {**result, "changed": False, **getattr(self, f"_{options['step']}")()}

    def _definitions(self) -> dict[str, Any]:
        given = self._look_at_definitions()
        found = self._found
        facts = {"files": self._files, "broken": found.broken, "refused": in_one(found.refused), "faults": in_one(found.faults)}
        return {**facts, "given": given}

    def _validate(self) -> dict[str, Any]:
        misspelt = given_fault(self._loader, self._vars)
        if misspelt:
            return {"failed": True, "msg": misspelt}
        found = self._found
        self._look_at_definitions()
        given = [
            bool(found.servers or found.refused),
            self._look_at("node_settings", found.look_at_settings),
            self._look_at("node_priorities", lambda name, value: found.look_at_settings(name, {"system": {"priorities": value}})),
            self._look_at("node_event_receivers", found.look_at_receivers),
        ]
        found.end()
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

    def _look_at_definitions(self) -> bool:
        """Check all definitions; tell if there are variables with definitions."""
        try:
            directory, listed = self._value("node_definitions_dir") or "", self._value("node_definitions") or []
            purges = boolean(self._value("node_definitions_purge"), strict=False)
        except AnsibleError as error:
            self._found.refuse(self._node, f"the definitions cannot be read: {error.message}")
            return True
        if directory:
            self._look_at_directory(directory, may_be_empty=bool(listed) or not purges)
        self._look_at_list(listed)
        return bool(directory or listed)

    def _look_at_directory(self, directory: str, *, may_be_empty: bool) -> None:
        files = self._list(directory)
        if not (files or may_be_empty or self._found.refused):
            # An empty directory is more often a mistake than a wish.
            self._found.refuse(directory, "it has no definition, and node_definitions_purge would remove all of the node")
        for name in files:
            place, uuid = os.path.join(directory, name), parse_uuid(os.path.splitext(name)[0])
            if uuid is None or not name.startswith(uuid):
                self._found.refuse(place, "it would have no effect; name it by its server's uuid, in lower case, or move it elsewhere")
            else:
                self._look_at_file(place, name, uuid)

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
        try:
            content = self._content_of(place)
        except OSError as error:
            irregular = error.errno in _IRREGULAR
            why = "it is not a regular file, and links are not followed" if irregular else f"it cannot be read: {error.strerror}"
            self._found.refuse(place, why)
        else:
            self._look_at_text(place, name, uuid, content)

    def _content_of(self, place: str) -> bytes | str:
        """Return the bytes of a file, or why it cannot be decrypted. Raises OSError."""
        # A link can lead to any file of the controller, and a name can become one at any time: it is opened once.
        with open(place, "rb", opener=_open_regular) as file:
            content = file.read(_LARGEST_FILE + 1)
        # The check of the size reports a larger file, so there is no need to decrypt it.
        return self._decrypted(content) if len(content) <= _LARGEST_FILE and is_encrypted(content) else content

    def _decrypted(self, content: bytes) -> bytes | str:
        """Return the decrypted bytes, or why there are none. The loader only reads files, so it gets a copy. Raises OSError."""
        with NamedTemporaryFile() as copy:
            copy.write(content)
            copy.flush()
            try:
                return plain_value(self._loader.get_text_file_contents(copy.name)).encode(errors="surrogateescape")
            except AnsibleError:
                return "it is encrypted by Ansible Vault, and cannot be decrypted with the secrets that are given"

    def _look_at_text(self, place: str, name: str, uuid: str, content: bytes | str) -> None:
        is_usable = self._found.look_at_definition(place, name, uuid, content)
        if is_usable and isinstance(content, bytes):
            self._files[name] = content.decode()

    def _look_at_list(self, listed: Any) -> None:
        if not isinstance(listed, list):
            self._found.refuse("node_definitions", "it is not a list of definitions")
            return
        for index, raw in enumerate(listed):
            place, uuid = f"node_definitions[{index}]", listed_uuid(raw)
            if uuid:
                # The node gets it in this form.
                self._look_at_text(place, f"{uuid}.json", uuid, json.dumps(raw, default=_text, indent=2, sort_keys=True).encode())
            else:
                self._found.refuse(place, "it has no settings.uuid that is a uuid, such as 01234567-89ab-4cde-8f01-23456789abcd")

    def _look_at(self, name: str, look: Callable[[str, Any], None]) -> bool:
        try:
            value = self._value(name)
        except AnsibleError as error:
            self._found.refuse(name, f"it cannot be evaluated: {error.message}")
            return True
        if value:
            look(name, value)
        return bool(value)


def _open_regular(path: str, flags: int) -> int:
    """Open a regular file, without following a link or waiting for a pipe. Raises OSError, see `_IRREGULAR`."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    return descriptor


def _text(value: object) -> str:
    """Return the text of a value that JSON does not have."""
    return value.isoformat() if isinstance(value, date) else str(value)
