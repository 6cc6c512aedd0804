# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``fleet-power define``: a definition from a container that somebody else made."""

from __future__ import annotations

import contextlib
import grp
import os
import re
from collections.abc import Sequence

from .._power.actions.node.node import Node
from .._power.definitions.definition_files import DefinitionDirectory
from .._power.definitions.definition_text import load_text
from .._power.host.own_files import replace_file
from .._power.model.errors import NotDefinable, ServerNotFound
from .._power.model.request import PowerAction
from .._power.model.schema import printable, visible
from .draft import Drafted, definition_of, to_yaml

#: As role ``node`` writes definitions.
_MODE = 0o640


def define(container: str, node: Node, *, write: bool = False) -> tuple[str, str]:
    """Return the definition of a container, given by name or id, as YAML; with ``write`` also how to take the container over.

    ``write`` puts it into the directory of definitions, and replaces no file. Nothing else changes. Raises `PowerError`.
    """
    engine = node.engine
    # Other texts would lead to other addresses of the engine.
    inspected = engine.raw(container) if re.fullmatch("[a-zA-Z0-9][a-zA-Z0-9_.-]*", container) else None
    if inspected is None:
        raise ServerNotFound(f'Cannot define a server: no container of this node has the name or id "{printable(container)}"')
    image, reference = engine.images.raw(inspected["Image"]), engine.images.raw(inspected["Config"]["Image"])
    moved = reference is not None and reference["Id"] != inspected["Image"]
    drafted = definition_of(inspected, image, node.settings, tag_moved=moved, resolve=os.path.realpath)
    text = to_yaml(drafted)
    path = os.path.join(node.settings.definitions, f"{drafted.uuid}.yml")
    if len(text.encode()) > DefinitionDirectory.largest:
        raise NotDefinable(f"Cannot define a server from container {container}: the definition is larger than 1 MiB")
    load_text(text.encode(), path, yaml=True)
    if not write:
        return text, ""
    _refuse_second(drafted, node)
    try:
        replace_file(path, text.encode(), mode=_MODE, gid=grp.getgrnam(node.settings.group).gr_gid, new=True)
    except KeyError:
        raise NotDefinable(f"Cannot write {path}: there is no group {node.settings.group}; run the role fleet.power.node") from None
    except OSError as error:
        raise NotDefinable(f"Cannot write {path}: {error.strerror}") from error
    return text, _take_over(drafted, path, node.sources.warnings)


def _refuse_second(drafted: Drafted, node: Node) -> None:
    """Raise `NotDefinable` if a file or a server has the UUID or the name."""
    files = DefinitionDirectory(node.settings.definitions)
    present = [*files.uuids(), *files.strays]
    if drafted.uuid in (os.path.splitext(name)[0].lower() for name in present):
        raise NotDefinable(f"Cannot define server {drafted.uuid} again: its definition is in {files.path}")
    with contextlib.suppress(ServerNotFound):
        found = node.sources.search.identify(drafted.name, PowerAction.START)
        raise NotDefinable(f"Cannot define a server {drafted.name}: server {found.uuid} has this name; rename the container first")


def _take_over(drafted: Drafted, path: str, warnings: Sequence[str]) -> str:
    edits = [f"write the values of {', '.join(drafted.secrets)}"] if drafted.secrets else []
    edits += ["read why the server is suspended, and set settings.suspended to false"] if drafted.differing else []
    rename = [] if drafted.container == drafted.uuid else [f"docker rename {drafted.container} {drafted.uuid}"]
    steps = [*rename, *drafted.steps, f"fleet-power restart {drafted.name or drafted.uuid} --adopt"]
    lines = [f"{path} is written.", *(f"In it, {edit}." for edit in edits), "To take the container over:", *(f"  {step}" for step in steps)]
    lines += [f"The restart (adopt: true) makes a new container. These are lost: {'; '.join(drafted.lost)}."]
    return visible("\n".join([*lines, *(f"Warning: {warning}" for warning in warnings)]), "\n")
