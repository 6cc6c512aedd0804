# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks: programs of the operator that run after the stop and before the start of a server, under its lock."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import timedelta

from ...definitions.definition import Definition, secrets_of
from ...definitions.settings_keys import POST_STOP, PRE_START, STAY_DOWN, Hook
from ...engine.readiness import readable_lines
from ...host import hook_unit
from ...host.hook_unit import HookEnd
from ...host.library_faults import reason_of
from ...host.pauses import hook_unit_of
from ...locking.lock import PowerLock
from ...model.errors import HookFailed, HookUnavailable, InsideHook, LockUnavailable
from ...model.result import HookReport, Phase, PlanStep
from ..boot.container import data_directory
from ..node.context import ActionContext
from ..node.run_end import NO_RUN, write_intent

_LINES, _LINE_BYTES = 20, 500
#: Lines in a sentence, and their length.
_SHOWN, _LONGEST_SHOWN = 3, 100


def refuse_inside(context: ActionContext) -> None:
    """Raise `InsideHook` if this process belongs to a hook of the server: the hook would wait for itself."""
    if hook_unit.is_inside(context.uuid):
        why = "from inside its own hook, which runs within another action on it; let that action do it, or act after its end"
        raise InsideHook(f"Cannot {context.verb} server {context.uuid} {why}")


def end_left_hook(context: ActionContext) -> None:
    """End the hook of an action that died. Raises `HookUnavailable`."""
    why = hook_unit.end(context.uuid)
    if why:
        raise HookUnavailable(context.cannot(f"a hook of an earlier action still runs, and {why}; {_shown_by(context)}"))


def _shown_by(context: ActionContext) -> str:
    return f"see systemctl status {hook_unit_of(context.uuid)}"


def check_hooks(context: ActionContext, steps: Sequence[PlanStep], definition: Definition | None) -> tuple[HookReport, ...]:
    """Return the hooks that belong to the steps of an action. Raises `HookUnavailable`."""
    found: list[HookReport] = []
    for name, step in ((POST_STOP, PlanStep.STOP), (PRE_START, PlanStep.START)):
        hook = _hook(context, name, definition) if step in steps else None
        if hook is not None:
            why = hook_unit.unavailable(hook.command, hook.user)
            if why:
                raise HookUnavailable(context.cannot(f"it has a hook {name}, and {why}"))
            found.append(HookReport(name))
    return tuple(found)


def _hook(context: ActionContext, name: str, definition: Definition | None) -> Hook | None:
    """Return the hook of the first rule that has one. Without any definition only rules for this server or for all count."""
    request = context.request
    if name == POST_STOP and (request.ended_run is not None or request.proof is not None or request.stop_by is not None):
        # The supervisor restarts what hangs, or what failed, at once. While the machine stops, systemd begins no hook.
        return None
    found = definition or context.node.sources.definition_for_stop(context.uuid)
    if found is not None:
        context.progress.secrets |= secrets_of(found)
    for rule in context.node.settings.hooks:
        hook: Hook | None = getattr(rule, name)
        if hook is not None and rule.servers.selects(context.progress.server, found):
            return hook
    return None


def run_hooks(context: ActionContext, lock: PowerLock, definition: Definition | None) -> None:
    """Run post_stop if this action stopped the server, then pre_start if it starts it. Raises `HookFailed`, and as `check_cancelled`."""
    boots, progress = context.request.action.boots, context.progress
    post_stop = None if progress.stop is None else _hook(context, POST_STOP, definition)
    fault = "" if post_stop is None else _run(context, lock, POST_STOP, post_stop)
    if post_stop is not None and fault and boots and post_stop.on_failure == STAY_DOWN:
        # With the old intent the supervisor would start it.
        write_intent(context, lock, up=False, run=progress.stopped_run or NO_RUN, keep_since=None)
        raise _failed(context, POST_STOP, f"{fault}; on_failure leaves it down")
    if fault:
        progress.hook_fault = f"its hook {POST_STOP} {fault}"
        context.warn(progress.hook_fault)
    pre_start = _hook(context, PRE_START, definition) if boots else None
    fault = "" if pre_start is None else _run(context, lock, PRE_START, pre_start)
    if fault:
        raise _failed(context, PRE_START, fault)


def _failed(context: ActionContext, name: str, fault: str) -> HookFailed:
    return HookFailed(context.cannot(f"its hook {name} {fault}"))


def _run(context: ActionContext, lock: PowerLock, name: str, hook: Hook) -> str:
    """Run a hook until its end, or end it after a kill; return its fault as the end of a sentence. Others may boot meanwhile."""
    progress = context.progress
    context.check_cancelled()
    if _is_killed(context):
        return "did not run: the server was killed"
    context.slot.end_boot()
    context.enter(lock, Phase.HOOK, deadline=context.node.clock.now() + timedelta(seconds=hook.timeout))
    progress.alter()
    words = hook_unit.words_of(context.uuid, name, hook.command, hook.user, hook.timeout, _environment(context))
    try:
        end = hook_unit.run(context.uuid, words, hook.timeout, lambda: _is_killed(context))
    except OSError as error:
        return f"did not run: {reason_of(error)}"
    fault = _fault(context, hook, end)
    output = readable_lines(end.output, _LINES, _LINE_BYTES, progress.secrets)
    progress.hooks += (HookReport(name, end.exit_code, round(end.seconds, 3), output),)
    if fault and output:
        fault += f" (its last lines: {' / '.join(line[:_LONGEST_SHOWN] for line in output[-_SHOWN:])})"
    context.check_cancelled()
    if not end.is_gone and context.request.action.boots:
        # Two must not work on the same data.
        raise _failed(context, name, fault)
    return fault


def _fault(context: ActionContext, hook: Hook, end: HookEnd) -> str:
    if not end.is_gone:
        return f"still runs, although it was ended; {_shown_by(context)}"
    if end.exit_code == 0:
        return ""
    if _is_killed(context):
        return "was ended, because the server was killed"
    if end.seconds >= hook.timeout:
        return f"was ended after {hook.timeout} s, its timeout"
    return "was ended by somebody" if end.exit_code is None else f"ended with exit code {end.exit_code}"


def _is_killed(context: ActionContext) -> bool:
    with contextlib.suppress(LockUnavailable):
        return context.killed
    return False


def _environment(context: ActionContext) -> dict[str, str]:
    request, server = context.request, context.progress.server
    return {
        "SERVER_UUID": server.uuid,
        "SERVER_NAME": server.name,
        "ACTION": context.verb,
        "REASON": request.reason,
        "ORIGIN": request.origin,
        "DATA": data_directory(context.node, server.uuid),
        "OPERATION": request.operation,
    }
