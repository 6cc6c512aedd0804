# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The labels of containers: what ours say, and who made a container; pure."""

from __future__ import annotations

from collections.abc import Mapping

from ..definitions.stop_way import stop_way_from_text
from ..model.server import Snapshot, StopWay

LABEL_SERVER = "fleet.power.server"
LABEL_STOP = "fleet.power.stop"
LABEL_SPEC = "fleet.power.spec"
#: The server's name when the container was made, for who knows no definition. A new name alone is no reason for a new container.
LABEL_NAME = "fleet.power.name"
#: What each part of it was made from, as short hashes; see `container_parts`.
LABEL_PARTS = "fleet.power.parts"
OUR_LABELS = "fleet.power."
#: The label Wings gives its containers, as the engine's filters write it.
WINGS_LABEL = "Service=Pterodactyl"
_WINGS_NAME, _unused, _WINGS_VALUE = WINGS_LABEL.partition("=")

#: What is put behind the server's uuid to name a container that waits for its place, the second where there is one already.
WAITING = ("-next", "-after")


def claims_to_be(labels: Mapping[str, str]) -> str | None:
    """The server that labels name as ours do, or None. A container has its image's labels, too: that it is so they do not prove."""
    return labels.get(LABEL_SERVER) if LABEL_SPEC in labels else None


def name_in_labels(labels: Mapping[str, str], uuid: str) -> str:
    """The name that a server had when we made its container, as that container's labels have it; empty where they say none."""
    return labels.get(LABEL_NAME, "") if claims_to_be(labels) == uuid else ""


def made_by_us(snapshot: Snapshot, uuid: str) -> bool:
    """Tell if this collection made the container, whatever its name is now, for this server: its host's name comes from no image."""
    return snapshot.hostname == uuid and claims_to_be(snapshot.labels) == uuid


def made_by_wings(labels: Mapping[str, str]) -> bool:
    """Tell if Wings made the container that has these labels."""
    return labels.get(_WINGS_NAME) == _WINGS_VALUE


def is_wings_label(name: str, value: str) -> bool:
    """Tell if a label is that by which Wings' containers are known."""
    return name == _WINGS_NAME and value == _WINGS_VALUE


def spec_hash_of(labels: Mapping[str, str]) -> str | None:
    """The hash of what the container was created from, or None."""
    return labels.get(LABEL_SPEC)


def stop_way_of(labels: Mapping[str, str]) -> StopWay | None:
    """How the container that has these labels is to be stopped, or None if they do not say it in a way that can be understood."""
    text = labels.get(LABEL_STOP)
    return None if text is None else stop_way_from_text(text)


def made_to_stop(snapshot: Snapshot, uuid: str) -> StopWay | None:
    """How the container was made to be stopped, or None if this collection did not make it for this server, or it does not say it."""
    return stop_way_of(snapshot.labels) if made_by_us(snapshot, uuid) else None
