# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readings in Ansible's inventory cache: only complete ones, valid for the options of their reading."""

from __future__ import annotations

import hashlib
import json
from collections.abc import MutableMapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.utils.display import Display
from ansible_collections.fleet.power.plugins.module_utils._fleet.inventory.entry import SCHEMA, SourceReading, from_plain, to_plain
from ansible_collections.fleet.power.plugins.module_utils._fleet.inventory.options import InventoryOptions


class ReadingCache:
    """The cache entry of one inventory file. ``name`` is the plugin's, for messages."""

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
