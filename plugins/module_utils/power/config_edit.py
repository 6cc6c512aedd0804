# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing a server's configuration files in line with its definition's rules."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .config_files import PARSERS
from .container import Boot
from .definition import ConfigFile
from .errors import PrebootFailed
from .node import Node
from .progress import Progress


def edit(node: Node, boot: Boot, config: ConfigFile, progress: Progress) -> bool:
    """Bring one configuration file in line; whether it was written."""
    content = edited(node, boot, config, progress)
    if content is None:
        return False
    with _leniently(node, boot, progress):
        boot.volume.write(config.file, content, uid=node.settings.uid, gid=node.settings.gid)
        progress.alter()
        return True
    return False


@contextlib.contextmanager
def _leniently(node: Node, boot: Boot, progress: Progress) -> Iterator[None]:
    """A configuration file that cannot be brought in line ends the boot, unless the settings say ``warn``."""
    try:
        yield
    except PrebootFailed as error:
        if node.settings.config_errors != "warn":
            raise
        progress.warn(f"server {boot.definition.server.uuid}: {error}")


def edited(node: Node, boot: Boot, config: ConfigFile, progress: Progress) -> bytes | None:
    """The new content of a configuration file, or None where nothing is to be written."""
    uuid = boot.definition.server.uuid
    parser = PARSERS.get(config.parser)
    if parser is None:
        progress.warn(f"server {uuid}: {config.file} is left as it is: the parser {config.parser!r} is not known")
        return None
    with _leniently(node, boot, progress):
        before = boot.volume.read_text(config.file, uid=node.settings.uid) or b""
        after = parser(before.decode("utf-8", "surrogateescape"), config.rules).encode("utf-8", "surrogateescape")
        return None if after == before else after
    return None
