# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of a server's configuration files by the rules of its definition."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ...config_files import PARSERS
from ...config_files.file_diff import file_diff
from ...config_files.placeholders import expand
from ...config_files.rules import ConfigFault
from ...config_files.sandboxed_edit import Editor, editor
from ...definitions.definition import ConfigFile
from ...model.cancellation import CheckCancelled
from ...model.errors import MissingLibrary, PrebootFailed
from ...model.schema import printable
from ...volume.volume import names_of
from ..node.context import ActionContext
from .container import Boot

#: Planned contents of a boot's files, by the names that lead to each file.
Written = dict[tuple[bytes, ...], bytes]


def check_files(context: ActionContext, boot: Boot, check_cancelled: CheckCancelled) -> None:
    """Compute all changes in order, without writing. Check mode shows them.

    Raises `MissingLibrary`, and `PrebootFailed` with file, rule and reason but no value, unless the settings say ``warn``.
    """
    written: Written = {}
    with editor(boot.edits, check_cancelled) as edits:
        for place, config in enumerate(boot.definition.configs):
            check_cancelled()
            change = _change(context, boot, edits, place, written)
            if change is not None:
                written[tuple(names_of(config.file, "edit"))] = change[1]
                if context.request.check:
                    _show(context, config, *change)


def edit_files(context: ActionContext, boot: Boot) -> bool:
    """Write all changes in order; return True if any file was written. Raises as `check_files`."""
    is_written = False
    with editor(boot.edits, context.check_cancelled) as edits:
        for place, config in enumerate(boot.definition.configs):
            context.check_cancelled()
            change = _change(context, boot, edits, place, {})
            if change is not None:
                with _leniently(context):
                    _write(context, boot, config, *change)
                    is_written = True
    return is_written


def _write(context: ActionContext, boot: Boot, config: ConfigFile, before: bytes, after: bytes) -> None:
    settings = context.node.settings
    if context.progress.proof is not None:
        from .previous import keep_file

        keep_file(context.node, context.progress.proof, boot.volume, config.file, after)
    boot.volume.write(config.file, after, uid=settings.uid, gid=settings.gid)
    context.progress.alter()
    _show(context, config, before, after)


def _show(context: ActionContext, config: ConfigFile, before: bytes, after: bytes) -> None:
    """Only if the task asks: masking costs more than the edit."""
    if context.request.diff:
        context.progress.files += (file_diff(config.file, before, after, context.progress.secrets),)


@contextlib.contextmanager
def _leniently(context: ActionContext) -> Iterator[None]:
    """A wrong configuration file ends the boot, unless the settings say ``warn``."""
    try:
        yield
    except (PrebootFailed, MissingLibrary) as error:
        if context.node.settings.config_errors != "warn":
            raise
        context.warn(str(error))


def _change(context: ActionContext, boot: Boot, edits: Editor, place: int, written: Written) -> tuple[bytes, bytes] | None:
    """Return the content before and after the entry at a ``place``; None without a change. ``written`` has the results of earlier ones."""
    settings, uuid, config = context.node.settings, context.uuid, boot.definition.configs[place]
    if config.parser not in PARSERS:
        context.warn(f"{printable(config.file)} is left as it is: the parser {config.parser!r} is not known")
        return None
    with _leniently(context):
        try:
            edits.await_turn(config, boot.volume.size(config.file))
            before = _before(settings.uid, boot, config, written)
            after = edits.edit(place, expand(config, boot.definition, settings), before)
        except ConfigFault as fault:
            rule = "" if fault.rule is None else f'the rule for "{printable(fault.rule.match)}": '
            advice = "correct the file or process_configuration.configs (system.config_errors: warn starts the server anyway)"
            raise PrebootFailed(f"Cannot edit file {printable(config.file)} of server {uuid}: {rule}{fault}; {advice}") from None
        return None if after == before else (before, after)
    return None


def _before(uid: int, boot: Boot, config: ConfigFile, written: Written) -> bytes:
    names = tuple(names_of(config.file, "edit"))
    if names in written:
        return written[names]
    for other in written:
        if names[: len(other)] == other:
            raise ConfigFault("an earlier entry creates a file where its path needs a directory")
        if other[: len(names)] == names:
            raise ConfigFault("an earlier entry makes a directory of that name")
    return boot.volume.read_text(config.file, uid=uid) or b""
