# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing a server's configuration files in line with its definition's rules."""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Iterator

from ...config_files import PARSERS, Parser
from ...config_files.fault import ConfigFault
from ...config_files.file_diff import file_diff
from ...config_files.placeholders import expand
from ...config_files.regex import one_child
from ...definitions.definition import ConfigFile
from ...model.errors import MissingLibrary, PrebootFailed
from ...model.schema import printable
from ...volume.volume_file import FILE_LIMIT, names_of
from ..node.node import Node
from ..node.progress import Progress
from .container import Boot

#: What the entries of a boot would have written so far: each file's content by the names that lead to it.
Written = dict[tuple[bytes, ...], bytes]

#: Files of more lines are not configuration, and each line costs more than its bytes.
_MOST_LINES = 500_000
#: What other encodings than UTF-8 are known by; UTF-32's first mark begins as UTF-16's does.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def edit(node: Node, boot: Boot, config: ConfigFile, progress: Progress) -> bool:
    """Bring one configuration file in line; whether it was written. Raises `PrebootFailed` as `edited` does."""
    change = _change(node, boot, config, progress, {})
    if change is None:
        return False
    before, after = change
    with _leniently(node, boot, progress):
        boot.volume.write(config.file, after, uid=node.settings.uid, gid=node.settings.gid)
        progress.alter()
        _show(config, before, after, progress)
        return True
    return False


def edited(node: Node, boot: Boot, config: ConfigFile, progress: Progress, written: Written | None = None) -> bytes | None:
    """The new content of a configuration file, or None where nothing is to be written. In check mode the change is shown.

    ``written`` is what earlier entries of the boot would have left by then, seen in place of what the disk has; this one is added.
    Raises `PrebootFailed`, naming file, rule and reason, never a value, and `MissingLibrary`, where the settings do not say ``warn``.
    """
    written = {} if written is None else written
    change = _change(node, boot, config, progress, written)
    if change is None:
        return None
    before, after = change
    written[tuple(names_of(config.file, "edit"))] = after
    if progress.request.check:
        _show(config, before, after, progress)
    return after


def _show(config: ConfigFile, before: bytes, after: bytes, progress: Progress) -> None:
    """Masking costs more than the edit: not for a task that shows nothing of it."""
    if progress.request.diff:
        progress.show_file(file_diff(config.file, before, after, progress.secrets))


@contextlib.contextmanager
def _leniently(node: Node, boot: Boot, progress: Progress) -> Iterator[None]:
    """A configuration file that cannot be brought in line ends the boot, unless the settings say ``warn``."""
    try:
        yield
    except (PrebootFailed, MissingLibrary) as error:
        if node.settings.config_errors != "warn":
            raise
        progress.warn(f"server {boot.definition.server.uuid}: {error}")


def _change(node: Node, boot: Boot, config: ConfigFile, progress: Progress, written: Written) -> tuple[bytes, bytes] | None:
    """The content of a configuration file as it is and as its rules want it, or None where there is nothing to write."""
    uuid = boot.definition.server.uuid
    parser = PARSERS.get(config.parser)
    if parser is None:
        progress.warn(f"server {uuid}: {config.file} is left as it is: the parser {config.parser!r} is not known")
        return None
    with _leniently(node, boot, progress):
        try:
            before = _before(node, boot, config, written)
            after = _parsed(parser, before, expand(config, boot.definition, node.settings))
        except ConfigFault as fault:
            raise PrebootFailed(_sentence(uuid, config, fault)) from None
        return None if after == before else (before, after)
    return None


def _before(node: Node, boot: Boot, config: ConfigFile, written: Written) -> bytes:
    names = tuple(names_of(config.file, "edit"))
    if names in written:
        return written[names]
    for other in written:
        if names[: len(other)] == other:
            raise ConfigFault("an earlier entry makes a file of what is a directory in its path")
        if other[: len(names)] == names:
            raise ConfigFault("an earlier entry makes a directory of that name")
    return boot.volume.read_text(config.file, uid=node.settings.uid) or b""


def _parsed(parser: Parser, before: bytes, config: ConfigFile) -> bytes:
    if before.count(b"\n") + before.count(b"\r") > _MOST_LINES:
        raise ConfigFault(f"it has more than {_MOST_LINES} lines")
    encoding, errors = "utf-8", "surrogateescape"
    for mark, name in _MARKS:
        if before.startswith(mark):
            encoding, errors = name, "strict"
            break
    try:
        text = before.decode(encoding, errors)
        with one_child():
            after = parser(text, config.rules).encode(encoding, errors)
    except UnicodeError:
        raise ConfigFault(f"it would not be valid {encoding.upper()}, as which it begins") from None
    if len(after) > FILE_LIMIT:
        raise ConfigFault(f"it would be larger than {FILE_LIMIT} bytes")
    return after


def _sentence(uuid: str, config: ConfigFile, fault: ConfigFault) -> str:
    rule = "" if fault.rule is None else f'the rule for "{printable(fault.rule.match)}": '
    return (
        f"Cannot edit file {printable(config.file)} of server {uuid}: {rule}{fault}; "
        "mend the file or process_configuration.configs (system.config_errors: warn starts the server all the same)"
    )
