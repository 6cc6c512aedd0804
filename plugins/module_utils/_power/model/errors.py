# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of power actions: one class for each stable code. ``facts`` carries data for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class PowerError(Exception):
    """A power action failed, was refused, cancelled or skipped."""

    code: str
    #: Reported as ``failed`` even if the action changed nothing.
    always_failed: bool
    #: Reported as ``cancelled``: another action took precedence.
    cancels: bool
    #: Reported as ``skipped`` unless the action changed something.
    skips: bool

    def __init_subclass__(cls, *, code: str, always_failed: bool = False, cancels: bool = False, skips: bool = False) -> None:
        super().__init_subclass__()
        cls.code, cls.always_failed, cls.cancels, cls.skips = code, always_failed, cancels, skips

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.facts = facts


class ServerNotFound(PowerError, code="server_not_found"):
    """No source and no container of this node knows the server."""


class AmbiguousServer(PowerError, code="ambiguous_server"):
    """More than one server has this short id or name."""


class Suspended(PowerError, code="suspended"):
    """The server is suspended: it can only be stopped or killed."""


class Frozen(PowerError, code="frozen"):
    """A freeze of the node or the server forbids starts and restarts, or it is unknown whether there is one."""


class FreezeFailed(PowerError, code="freeze_failed", always_failed=True):
    """A freeze could not be written or ended."""


class LockTimeout(PowerError, code="lock_timeout"):
    """Another action held the lock for longer than ``wait_seconds``."""


class LockUnavailable(PowerError, code="lock_unavailable"):
    """The lock file cannot be made, opened or written."""


class CancelledByKill(PowerError, code="cancelled_by_kill", cancels=True):
    """A kill came after the request of this action."""

    why = "it was killed after this request; repeat the action if you still want it"


class Superseded(PowerError, code="superseded", cancels=True):
    """Another action took the server while this one waited for ready, or for players."""


class PlayersOnline(PowerError, code="players_online"):
    """Too many players were online until ``max_delay`` ended."""


class PlayersUnknown(PowerError, code="players_unknown"):
    """The number of players was unknown until ``max_delay`` ended."""


class CountdownRunning(PowerError, code="countdown_running"):
    """Another action on this server waits for players or warns them."""


class KillUnsettled(PowerError, code="kill_unsettled", always_failed=True):
    """A kill was sent, but it is not certain that the server stays down."""


class DefinitionInvalid(PowerError, code="definition_invalid"):
    """The definition is invalid; the message names file and key."""


class NotDefinable(PowerError, code="not_definable"):
    """No definition can be made from a container, or its file or server exists already."""


class SourceUnreachable(PowerError, code="source_unreachable"):
    """A source of definitions cannot be read."""


class SourceDenied(PowerError, code="source_denied"):
    """The Panel refuses the node's token. Kept definitions do not apply then."""


class SettingsInvalid(PowerError, code="settings_invalid"):
    """The settings are invalid or unreadable; the message names key, value and expected type."""


class DiskFull(PowerError, code="disk_full"):
    """The server's data directory uses more than its definition allows."""


class DiskCheckTimeout(PowerError, code="disk_check_timeout"):
    """The walk through the data directory exceeds its limit of time or entries."""


class VolumeMissing(PowerError, code="volume_missing"):
    """The data directory of a server that ran here before is gone."""


class MountNotAllowed(PowerError, code="mount_not_allowed"):
    """A mount of the definition is outside ``allowed_mounts``. A definition of the Panel starts without it, as in Wings."""


class ImageUnavailable(PowerError, code="image_unavailable"):
    """The image is not on the node and may not or cannot be pulled."""


class PrebootFailed(PowerError, code="preboot_failed"):
    """A pre-boot step failed; the message names it."""


class HookFailed(PowerError, code="hook_failed", always_failed=True):
    """A hook failed, so the server is not started. Also of a ``done`` action with a failed hook that prevents nothing."""


class HookUnavailable(PowerError, code="hook_unavailable"):
    """The server has hooks for the action, and they cannot run, or a hook of a dead action cannot be ended."""


class InsideHook(PowerError, code="inside_hook"):
    """The action comes from a hook of the same server, and would wait for its own end."""


class StartFailed(PowerError, code="start_failed", always_failed=True):
    """The server's process did not start, or ended before it was ready."""


class StartTimeout(PowerError, code="start_timeout", always_failed=True):
    """The server was not ready within ``wait_timeout``; its container stays up."""


class RevertUnavailable(PowerError, code="revert_unavailable"):
    """``on_failed_start: revert`` is impossible: no root, no supervisor or no usable journal."""


class Reverted(PowerError, code="reverted", always_failed=True):
    """The new version did not become ready or did not stay up; the previous version was started again."""


class LeftDown(PowerError, code="left_down", always_failed=True):
    """The new version did not become ready or did not stay up, and a rule forbids the previous version; the server is down."""


class StopFailed(PowerError, code="stop_failed", always_failed=True):
    """The stop could not be sent, or the process survived SIGKILL."""


class ContainerForeign(PowerError, code="container_foreign"):
    """Another program made the container with the server's name."""


class WingsActive(PowerError, code="wings_active"):
    """A Wings daemon is alive on the node and would take a stop for a crash."""


class WingsUnknown(PowerError, code="wings_unknown"):
    """The node's processes cannot be read, for example without a free file descriptor, so a Wings daemon may be alive."""


class EngineUnreachable(PowerError, code="engine_unreachable", always_failed=True):
    """The engine does not answer: not running, no permission on its socket, or silent past ``timeout``."""


class EngineError(PowerError, code="engine_error", always_failed=True):
    """The engine answered with an error that has no code of its own."""

    @property
    def reason(self) -> str:
        """The engine's own words, without the beginning of the message."""
        return str(self).partition(": ")[2] or str(self)


#: The engine refused a request, or did not answer.
ENGINE_FAULTS = (EngineError, EngineUnreachable)


class MissingLibrary(PowerError, code="missing_library"):
    """Python cannot import a library, or it is too old; the message names library and interpreter."""

    @classmethod
    def of(cls, task: str, library: str, package: str, error: ImportError | None = None, *, instead: str = "") -> MissingLibrary:
        """Return the error; ``task`` follows "Cannot", ``package`` is a Debian package, ``instead`` names an alternative."""
        why = "" if error is None else f" ({error})"
        return cls(
            f"Cannot {task}: {sys.executable or 'Python'} cannot import {library}{why}; "
            f"install the Debian package {package}, or {library} from PyPI{instead}",
            library=library,
        )


class InterruptedBySignal(PowerError, code="interrupted_by_signal", skips=True):
    """A signal came before the action began."""


class NotSelected(PowerError, code="not_selected", skips=True):
    """``only``, ``outdated`` or ``if_meant_up`` exclude the server."""


class OnTrial(PowerError, code="on_trial", skips=True):
    """A start of the supervisor waits for the end of the proof of a new version."""


class UnderMaintenance(PowerError, code="maintenance", skips=True):
    """The supervisor starts no server during maintenance, or while the state of maintenance is unknown."""


class NodeStopping(PowerError, code="node_stopping"):
    """The machine or its engine stops, so nothing starts."""

    why = "its node or the engine there stops; wait until it is up again, or, if it is up, run systemctl restart fleet-power-stop there"


class FailureBudget(PowerError, code="failure_budget", skips=True):
    """More servers failed than ``max_failures`` allows, before this server's turn."""


class LimitBelowUse(PowerError, code="limit_below_use"):
    """The server uses more memory than its new limit."""


class Incomplete(PowerError, code="incomplete", always_failed=True):
    """Some servers of the node could not be listed or read; the action ran on the others."""


class IntentUnknown(PowerError, code="intent_unknown"):
    """The journal cannot be read: it shows neither which servers should be up nor which actions were done under a key."""


class EndpointUnreachable(PowerError, code="endpoint_unreachable", always_failed=True):
    """The HTTP endpoint gives no valid answer: refused, silent, not TLS as expected, not JSON."""


class EndpointError(PowerError, code="endpoint_error", always_failed=True):
    """The HTTP endpoint answered with an error that has no code of its own, for example a refused token."""


class EndpointUntrusted(PowerError, code="endpoint_untrusted"):
    """An untrusted process listens at the endpoint's address on this machine; the token was not sent."""


class OutcomeUnknown(PowerError, code="outcome_unknown", always_failed=True):
    """The HTTP endpoint accepted the action, but its end was not visible in time."""


class UnsupportedByEndpoint(PowerError, code="unsupported_by_endpoint"):
    """The HTTP endpoint does not support an option."""


class InternalError(PowerError, code="internal_error", always_failed=True):
    """A fault in this collection."""


#: Codes of actions that did not begin because of players.
LEFT_TO_PLAYERS = (PlayersOnline.code, PlayersUnknown.code, CountdownRunning.code)
#: Codes of refusals that no failure budget counts.
LEFT_ALONE = (*LEFT_TO_PLAYERS, Frozen.code)
#: Codes without an exception.
INTERRUPTED = "interrupted"
EXPIRED = "expired"
UNGUARDED = "unguarded"
NOT_DURABLE = "not_durable"
INTERNAL_ERROR = InternalError.code


def alone(attempt: str, read: Callable[[], T]) -> T | PowerError:
    """Return the result of ``read`` for one server among many, or its error. A fault in this collection is an `InternalError`.

    No fault of one server may take the answer about the others. ``attempt`` begins the message, for example "Cannot inspect it".
    """
    try:
        return read()
    except PowerError as error:
        return error
    except Exception as error:
        return InternalError(internal_error(error, attempt))


def internal_error(error: BaseException, attempt: str = "Cannot go on") -> str:
    """Return the message for a fault in this collection: class and place. It omits the text, which may hold secrets."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" at {trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
    return f"{attempt}: an error that should not happen, please report it: {error.__class__.__name__}{where}"
