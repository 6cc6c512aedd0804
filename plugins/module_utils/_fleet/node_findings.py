# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults in the definitions and settings of a node, found before the node gets them; pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._power.definitions.definition import Definition, read_definition
from .._power.definitions.definition_files import DefinitionDirectory, name_in, uuid_in
from .._power.definitions.definition_text import load_text, root_node
from .._power.definitions.receiver_keys import ReceiverRule, read_receiver_rules
from .._power.definitions.rules import idle, receiver_selectors, selectors_of
from .._power.definitions.selectors import ServerSelector
from .._power.definitions.settings import read_settings
from .._power.definitions.settings_keys import KEYS
from .._power.engine.connection import host_fault
from .._power.events.webhook import SecretFault, key_of
from .._power.model.errors import DefinitionInvalid
from .._power.model.schema import Check, Gathered, KeyLocation, Mismatch
from .._power.receivers.receiver import split_address
from .._power.sources.web import checked_address
from .._power.sources.web_fault import WebFault
from .table import plural

#: The own UUID in a definition, or None.
listed_uuid = uuid_in
EXTENSIONS = DefinitionDirectory.extensions
#: The most bytes of a definition.
LARGEST = DefinitionDirectory.largest
_SHOWN = 5
#: The most repeated keys of one definition: a hostile one has a hundred thousand.
_MOST_REPEATED = 100


@dataclass(frozen=True)
class Finding:
    """A fault or a warning. ``place`` is a file or a variable; ``key`` is dotted, and empty for the whole place."""

    place: str
    key: str
    msg: str

    @property
    def sentence(self) -> str:
        return f"{self.place}: {self.msg}"


@dataclass
class NodeFindings:
    """The findings of one node. ``refused`` faults name no server: they stop all definitions of the node. ``faults`` has them too.

    ``broken`` are the names of faulty files. The node keeps its old definitions of these servers.
    """

    faults: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    refused: list[Finding] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    #: Place and name of each server, by UUID.
    _servers: dict[str, tuple[str, str]] = field(default_factory=dict)
    _definitions: list[Definition] = field(default_factory=list)
    #: Place of the input, place in it and selector of each rule; with a Panel its servers are unknown here.
    _selectors: dict[tuple[str, str], ServerSelector] = field(default_factory=dict)
    _has_panel: bool = False

    @property
    def servers(self) -> list[str]:
        """The UUIDs of the node's servers."""
        return sorted(self._servers)

    def refuse(self, place: str, msg: str) -> None:
        """Add a fault that belongs to no server."""
        self.refused.append(Finding(place, "", msg))
        self.faults.append(self.refused[-1])

    def look_at_definition(self, place: str, name: str, uuid: str, content: bytes | str) -> bool:
        """Check a definition from the file ``name`` for the server ``uuid``: its bytes, or why they cannot be read. Return whether it is
        usable."""
        if uuid in self._servers:
            self.refuse(place, f"this is a second definition of server {uuid}, besides {self._servers[uuid][0]}; keep one of them")
            return False
        self._servers[uuid] = (place, "")
        before = len(self.faults)
        if isinstance(content, str):
            self.faults.append(Finding(place, "", content))
        elif len(content) > LARGEST:
            self.faults.append(Finding(place, "", f"it is larger than {LARGEST} bytes"))
        else:
            self._look_at_text(place, name, uuid, content)
        is_usable = len(self.faults) == before
        if not is_usable:
            self.broken.append(name)
        return is_usable

    def look_at_settings(self, place: str, raw: object) -> None:
        """Check settings of the node. Files that they name are on the node, so they are not checked."""
        found = self._gather(place, lambda location: read_settings(raw, location, _ADDRESSES))
        if found is not None:
            values = found.complete(KEYS)
            self._has_panel = self._has_panel or bool(values["remote"] or values["wings_config"])
            self._note_selectors(place, selectors_of(values))

    def look_at_receivers(self, place: str, raw: object) -> None:
        """Check receivers of events in the form of role node."""
        found = self._gather(place, lambda location: _checked_receivers(read_receiver_rules(raw, ""), ""))
        if found is not None:
            self._note_selectors(place, receiver_selectors(found, ""))

    def end(self) -> None:
        """Add faults across definitions and settings. Servers with the same name work, but only by UUID."""
        places: dict[str, list[str]] = {}
        for place, name in self._servers.values():
            places.setdefault(name, []).append(place)
        for name, which in places.items():
            if name and len(which) > 1:
                msg = f'is "{name}", as in {", ".join(which[:-1])}: these servers can be called by their UUID alone'
                self.warnings.append(Finding(which[-1], "settings.meta.name", f"settings.meta.name {msg}"))

        if self._definitions and not self.faults and not self._has_panel:
            for place, rule in idle(self._selectors, ((each.server, each) for each in self._definitions)):
                self.warnings.append(Finding(place, rule, f"{rule} selects no server that is defined here"))

    def _note_selectors(self, place: str, selectors: Mapping[str, ServerSelector]) -> None:
        self._selectors.update(((place, rule), selector) for rule, selector in selectors.items())

    def failure(self, node: str) -> str:
        """Return the number of faults in a sentence, for use below their list; empty without a fault."""
        return f"Cannot use the input of {node}: {plural(len(self.faults), 'fault')}, listed above" if self.faults else ""

    def _look_at_text(self, place: str, name: str, uuid: str, content: bytes) -> None:
        try:
            raw = load_text(content, place, yaml=not name.endswith(".json"))
        except DefinitionInvalid as error:
            self.faults.append(Finding(place, "", str(error).removeprefix(f"Cannot read definition {place}: ")))
            return
        self._servers[uuid] = (place, name_in(raw))
        for key in _repeated_keys(content, is_json=name.endswith(".json")):
            self.faults.append(Finding(place, key, f"{key} is there more than once; keep one of them"))
        found = self._gather(place, lambda location: read_definition(raw, uuid, location))
        if found is not None:
            self._definitions.append(found)
            # Each begins with its key.
            self.warnings += (Finding(place, warning.split(" ")[0].removesuffix(":"), warning) for warning in found.warnings)

    def _gather(self, place: str, read: Callable[[KeyLocation], Any]) -> Any:
        location = KeyLocation("", [])
        found = None
        try:
            found = read(location)
        except Mismatch as mismatch:
            self.faults += (Finding(place, fault.key, str(fault)) for fault in mismatch.every)
        for key in location.unknown:
            self.warnings.append(Finding(place, key, f"{key} is not known, and is ignored{location.hints.get(key, '')}"))
        return found


def _require_engine(values: Mapping[str, Any]) -> None:
    fault = host_fault(values["docker.host"]) if values["docker.host"] else ""
    if fault:
        raise Mismatch("docker.host", f"cannot be used: {fault}")


def _require_address(key: str, address: str, check: Callable[[str], object] = checked_address) -> None:
    try:
        if address:
            check(address)
    except WebFault as fault:
        raise Mismatch(key, f"cannot be used: {fault}") from None


def _require_secret(key: str, secret: str) -> None:
    try:
        if secret:
            key_of(secret)
    except SecretFault as fault:
        raise Mismatch(key, str(fault)) from None


def _checked_receivers(rules: Sequence[ReceiverRule], key: str) -> Sequence[ReceiverRule]:
    gathered = Gathered()
    for index, rule in enumerate(rules):
        location = KeyLocation(key, []).item(index)
        gathered.read(_require_address, location.entry("url").key, rule.url, split_address)
        gathered.read(_require_secret, location.entry("secret").key, rule.secret)
    gathered.end()
    return rules


#: Without these a node would refuse the setting only when it uses it.
_ADDRESSES = (
    Check(("docker.host",), _require_engine),
    Check(("endpoint.url",), lambda values: _require_address("endpoint.url", values["endpoint.url"])),
    Check(("remote",), lambda values: _require_address("remote", values["remote"])),
    Check(("events.receivers",), lambda values: _checked_receivers(values["events.receivers"], "events.receivers")),
)


class _Pairs(list[Any]):
    """The keys and values of a map, in their written order."""


def _repeated_keys(content: bytes, *, is_json: bool) -> list[str]:
    text = content.decode("utf-8-sig")
    whole = json.loads(text, object_pairs_hook=_Pairs) if is_json else _written(root_node(text))
    found: list[str] = []
    _note_repeated(whole, KeyLocation("", found))
    return list(dict.fromkeys(found))[:_MOST_REPEATED]


def _written(node: Any) -> Any:
    """Return a YAML node with its maps as `_Pairs`, None for an empty text. A merge (``<<``) may repeat."""
    if node is None:
        return None
    if node.id == "mapping":
        return _Pairs((key.value, _written(value)) for key, value in node.value if key.id == "scalar" and key.value != "<<")
    return [_written(each) for each in node.value] if node.id == "sequence" else None


def _note_repeated(value: Any, location: KeyLocation) -> None:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for name, part in value:
            if name in seen:
                location.note_unknown(name)
            seen.add(name)
            _note_repeated(part, location.entry(name))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            _note_repeated(part, location.item(index))


def in_one(findings: list[Finding]) -> str:
    more = f"; and {len(findings) - _SHOWN} more" if len(findings) > _SHOWN else ""
    return "; ".join(finding.sentence for finding in findings[:_SHOWN]) + more
