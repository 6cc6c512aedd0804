# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The labels of containers: ours, and the maker of a container; pure."""

from __future__ import annotations

from collections.abc import Mapping

from ..definitions.stop_way import stop_way_from_text
from ..model.server import Snapshot, StopWay

LABEL_SERVER = "fleet.power.server"
LABEL_STOP = "fleet.power.stop"
LABEL_SPEC = "fleet.power.spec"
#: The server's name at the creation, for readers without a definition. A new name alone needs no new container.
LABEL_NAME = "fleet.power.name"
#: Short hashes of the container's parts; see `container_parts`.
LABEL_PARTS = "fleet.power.parts"
#: The image's name, on a container with which a server went back: that is made from the image's id.
LABEL_IMAGE = "fleet.power.image"
OUR_LABELS = "fleet.power."
#: Suffixes of the server's UUID for a container that waits for its place; the second if the first is taken.
WAITING = ("-next", "-after")
#: The suffix of the previous container while a new version is on trial.
PREVIOUS = "-previous"


def claims_to_be(labels: Mapping[str, str]) -> str | None:
    """Return the server in our labels, or None. This is no proof: a container also has its image's labels."""
    return labels.get(LABEL_SERVER) if LABEL_SPEC in labels else None


def name_in_labels(labels: Mapping[str, str], uuid: str) -> str:
    """Return the server's name from its container's labels; empty if they have none."""
    return labels.get(LABEL_NAME, "") if claims_to_be(labels) == uuid else ""


def image_name(snapshot: Snapshot) -> str:
    return snapshot.labels.get(LABEL_IMAGE, snapshot.image)


def made_by_us(snapshot: Snapshot, uuid: str) -> bool:
    """Tell if this collection made the container for this server, under any name: no image can set its hostname."""
    return snapshot.hostname == uuid and claims_to_be(snapshot.labels) == uuid


def made_by_wings(labels: Mapping[str, str]) -> bool:
    return labels.get("Service") == "Pterodactyl"


def made_by_us_or_wings(snapshot: Snapshot, uuid: str) -> bool:
    """Tell if this collection or Wings made the container: it may be replaced, with its anonymous volumes."""
    return made_by_us(snapshot, uuid) or made_by_wings(snapshot.labels)


def made_to_stop(snapshot: Snapshot, uuid: str) -> StopWay | None:
    """Return the stop way in the labels of a container that this collection made for this server; None if they do not say it clearly."""
    text = snapshot.labels.get(LABEL_STOP)
    return stop_way_from_text(text) if text is not None and made_by_us(snapshot, uuid) else None
