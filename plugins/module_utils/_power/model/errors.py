# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of power actions: one class for each stable code. ``facts`` carries data for programs."""

from __future__ import annotations

import sys


class PowerError(Exception):
    """A power action failed, was refused, cancelled or skipped."""

    code: str
    #: Reported as ``failed`` even if the action changed nothing.
    always_failed = False
    #: Reported as ``cancelled``: another action took precedence.
    cancels = False
    #: Reported as ``skipped`` unless the action changed something.
    skips = False

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.facts = facts


class ServerNotFound(PowerError):
    """No source and no container of this node knows the server."""

    code = "server_not_found"


class AmbiguousServer(PowerError):
    """More than one server has this short id or name."""

    code = "ambiguous_server"


class Suspended(PowerError):
    """The server is suspended: it can only be stopped or killed."""

    code = "suspended"


class LockTimeout(PowerError):
    """Another action held the lock for longer than ``wait_seconds``."""

    code = "lock_timeout"


class LockUnavailable(PowerError):
    """The lock file cannot be made, opened or written."""

    code = "lock_unavailable"


class CancelledByKill(PowerError):
    """A kill came after the request of this action."""

    code = "cancelled_by_kill"
    cancels = True
    why = "it was killed after this request; repeat the action if you still want it"


class Superseded(PowerError):
    """Another action took the server while this one waited for ready, or for players."""

    code = "superseded"
    cancels = True


class PlayersOnline(PowerError):
    """Too many players were online until ``max_delay`` ended."""

    code = "players_online"


class PlayersUnknown(PowerError):
    """The number of players was unknown until ``max_delay`` ended."""

    code = "players_unknown"


class CountdownRunning(PowerError):
    """Another action on this server waits for players or warns them."""

    code = "countdown_running"


class KillUnsettled(PowerError):
    """A kill was sent, but it is not certain that the server stays down."""

    code = "kill_unsettled"
    always_failed = True


class DefinitionInvalid(PowerError):
    """The definition is invalid; the message names file and key."""

    code = "definition_invalid"


class SourceUnreachable(PowerError):
    """A source of definitions cannot be read."""

    code = "source_unreachable"


class SourceDenied(PowerError):
    """The Panel refuses the node's token. Kept definitions do not apply then."""

    code = "source_denied"


class SettingsInvalid(PowerError):
    """The settings are invalid or unreadable; the message names key, value and expected type."""

    code = "settings_invalid"


class DiskFull(PowerError):
    """The server's data directory uses more than its definition allows."""

    code = "disk_full"


class DiskCheckTimeout(PowerError):
    """The walk through the data directory exceeds its limit of time or entries."""

    code = "disk_check_timeout"


class VolumeMissing(PowerError):
    """The data directory of a server that ran here before is gone."""

    code = "volume_missing"


class ImageUnavailable(PowerError):
    """The image is not on the node and may not or cannot be pulled."""

    code = "image_unavailable"


class PrebootFailed(PowerError):
    """A pre-boot step failed; the message names it."""

    code = "preboot_failed"


class StartFailed(PowerError):
    """The server's process did not start, or ended before it was ready."""

    code = "start_failed"
    always_failed = True


class StartTimeout(PowerError):
    """The server was not ready within ``wait_timeout``; its container stays up."""

    code = "start_timeout"
    always_failed = True


class StopFailed(PowerError):
    """The stop could not be sent, or the process survived SIGKILL."""

    code = "stop_failed"
    always_failed = True


class ContainerForeign(PowerError):
    """Another program made the container with the server's name."""

    code = "container_foreign"


class WingsActive(PowerError):
    """A Wings daemon is alive on the node and would take a stop for a crash."""

    code = "wings_active"


class EngineUnreachable(PowerError):
    """The engine does not answer: not running, no permission on its socket, or silent past ``timeout``."""

    code = "engine_unreachable"
    always_failed = True


class EngineError(PowerError):
    """The engine answered with an error that has no code of its own."""

    code = "engine_error"
    always_failed = True

    @property
    def reason(self) -> str:
        """The engine's own words, without the beginning of the message."""
        return str(self).partition(": ")[2] or str(self)


class MissingLibrary(PowerError):
    """Python cannot import a library; the message names library and interpreter."""

    code = "missing_library"

    @classmethod
    def of(cls, task: str, library: str, package: str, error: ImportError | None = None, *, instead: str = "") -> MissingLibrary:
        """Return the error; ``task`` follows "Cannot", ``package`` is a Debian package, ``instead`` names an alternative."""
        why = "" if error is None else f" ({error})"
        return cls(
            f"Cannot {task}: {sys.executable or 'Python'} cannot import {library}{why}; "
            f"install the Debian package {package}, or {library} from PyPI{instead}",
            library=library,
        )


class InterruptedBySignal(PowerError):
    """A signal came before the action began."""

    code = "interrupted_by_signal"
    skips = True


class NotSelected(PowerError):
    """``only``, ``outdated`` or ``if_meant_up`` exclude the server."""

    code = "not_selected"
    skips = True


class UnderMaintenance(PowerError):
    """The supervisor starts no server during maintenance, or while the state of maintenance is unknown."""

    code = "maintenance"
    skips = True


class FailureBudget(PowerError):
    """More servers failed than ``max_failures`` allows, before this server's turn."""

    code = "failure_budget"
    skips = True


class LimitBelowUse(PowerError):
    """The server uses more memory than its new limit."""

    code = "limit_below_use"


class Incomplete(PowerError):
    """Some servers of the node could not be listed or read; the action ran on the others."""

    code = "incomplete"
    always_failed = True


class IntentUnknown(PowerError):
    """The journal does not show which servers should be up."""

    code = "intent_unknown"


class EndpointUnreachable(PowerError):
    """The HTTP endpoint gives no valid answer: refused, silent, not TLS as expected, not JSON."""

    code = "endpoint_unreachable"
    always_failed = True


class EndpointError(PowerError):
    """The HTTP endpoint answered with an error that has no code of its own, for example a refused token."""

    code = "endpoint_error"
    always_failed = True


class EndpointUntrusted(PowerError):
    """An untrusted process listens at the endpoint's address on this machine; the token was not sent."""

    code = "endpoint_untrusted"


class OutcomeUnknown(PowerError):
    """The HTTP endpoint accepted the action, but its end was not visible in time."""

    code = "outcome_unknown"
    always_failed = True


class UnsupportedByEndpoint(PowerError):
    """The HTTP endpoint does not support an option."""

    code = "unsupported_by_endpoint"


#: Codes of actions that did not begin because of players. No failure budget counts them.
LEFT_TO_PLAYERS = (PlayersOnline.code, PlayersUnknown.code, CountdownRunning.code)
#: Codes without an exception.
INTERRUPTED = "interrupted"
EXPIRED = "expired"
UNGUARDED = "unguarded"
NOT_DURABLE = "not_durable"
INTERNAL_ERROR = "internal_error"


def internal_error(error: BaseException) -> str:
    """Return the message for a fault in this collection: class and place. It omits the text, which may hold secrets."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" at {trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
    return f"Cannot go on: an error that should not happen, please report it: {error.__class__.__name__}{where}"


def all_codes() -> set[str]:
    return {error.code for error in PowerError.__subclasses__()} | {INTERRUPTED, EXPIRED, UNGUARDED, NOT_DURABLE, INTERNAL_ERROR}
