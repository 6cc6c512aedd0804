# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a power action cannot go on: one class per stable code, and so as long as there are codes.

The sentence of an error says what to do; ``facts`` carries what a program needs to act on it.
``docs/docsite/rst/codes_guide.rst`` explains each code to users; a test keeps the two in step.
"""

from __future__ import annotations

import sys


class PowerError(Exception):
    """A power action cannot go on, or ended otherwise than asked."""

    code: str
    #: Reported as ``failed`` even if nothing was altered: it tells of a thing tried, not of a wish declined.
    always_failed = False
    #: Reported as ``cancelled``: another action took precedence.
    cancels = False
    #: Reported as ``skipped`` as long as nothing was altered: its turn never came.
    skips = False

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.facts = facts


class ServerNotFound(PowerError):
    """No source and no container of this node knows the server."""

    code = "server_not_found"


class AmbiguousServer(PowerError):
    """A short id or a name that more than one server has."""

    code = "ambiguous_server"


class Suspended(PowerError):
    """A suspended server may be stopped and killed, but neither started nor restarted."""

    code = "suspended"


class LockTimeout(PowerError):
    """Another action held the server for longer than this one was willing to wait."""

    code = "lock_timeout"


class LockUnavailable(PowerError):
    """The lock file cannot be made, opened or written."""

    code = "lock_unavailable"


class CancelledByKill(PowerError):
    """A kill that came after this action was requested."""

    code = "cancelled_by_kill"
    cancels = True


class Superseded(PowerError):
    """Another action took the server while this one waited for it to become ready, or for its players."""

    code = "superseded"
    cancels = True


class PlayersOnline(PowerError):
    """More people play on the server than the action allows, or nobody can tell, and it may not wait any longer."""

    code = "players_online"


class CountdownRunning(PowerError):
    """Another action on this server is waiting for its players, or telling them."""

    code = "countdown_running"


class KillUnsettled(PowerError):
    """A kill was sent, but it is not certain that the server stays down."""

    code = "kill_unsettled"
    always_failed = True


class DefinitionInvalid(PowerError):
    """A definition that cannot be understood; the sentence names file and key."""

    code = "definition_invalid"


class SourceUnreachable(PowerError):
    """A source of definitions cannot be read, which is not the same as a source that lacks the server."""

    code = "source_unreachable"


class SourceDenied(PowerError):
    """The Panel answers, but refuses the node's token. What was kept from earlier does not count then."""

    code = "source_denied"


class SettingsInvalid(PowerError):
    """The node's settings cannot be read or understood; the sentence names key, value and expected type."""

    code = "settings_invalid"


class DiskFull(PowerError):
    """The server's data directory uses more than its definition allows."""

    code = "disk_full"


class DiskCheckTimeout(PowerError):
    """The server's data directory holds too much to be looked through, or more comes into it than can be."""

    code = "disk_check_timeout"


class VolumeMissing(PowerError):
    """The data directory of a server that has run here before is gone."""

    code = "volume_missing"


class ImageUnavailable(PowerError):
    """The image is not on the node and may not or cannot be pulled."""

    code = "image_unavailable"


class PrebootFailed(PowerError):
    """A step between "may start" and "starts" failed; the sentence names it."""

    code = "preboot_failed"


class StartFailed(PowerError):
    """The server's process did not start, or ended before it was ready."""

    code = "start_failed"
    always_failed = True


class StartTimeout(PowerError):
    """The server was not ready within ``wait_timeout``; its container is left up."""

    code = "start_timeout"
    always_failed = True


class StopFailed(PowerError):
    """The stop could not be sent, or the process did not end even by SIGKILL."""

    code = "stop_failed"
    always_failed = True


class ContainerForeign(PowerError):
    """The container of the server's name was made by somebody else."""

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
        """The engine's own words, for a sentence that says itself what could not be done."""
        return str(self).partition(": ")[2] or str(self)


class MissingLibrary(PowerError):
    """A Python library that is needed cannot be imported; the sentence names the interpreter, which may be another than one thinks."""

    code = "missing_library"

    @classmethod
    def of(cls, task: str, library: str, package: str, error: ImportError | None = None, *, instead: str = "") -> MissingLibrary:
        """Return it for a task as it stands after "Cannot", with the Debian package of the library, and what else would do."""
        why = "" if error is None else f" ({error})"
        return cls(
            f"Cannot {task}: {sys.executable or 'Python'} cannot import {library}{why}; "
            f"install the Debian package {package}, or {library} from PyPI{instead}",
            library=library,
        )


class InterruptedBySignal(PowerError):
    """A signal came before the action had begun."""

    code = "interrupted_by_signal"
    skips = True


class NotSelected(PowerError):
    """The server is not in one of the states that ``only`` names, or is not meant to be up where only such are meant."""

    code = "not_selected"
    skips = True


class UnderMaintenance(PowerError):
    """A maintenance goes on, or nobody can tell whether one does: the supervisor starts nothing."""

    code = "maintenance"
    skips = True


class FailureBudget(PowerError):
    """More servers had failed than ``max_failures`` allows before this one's turn came."""

    code = "failure_budget"
    skips = True


class LimitBelowUse(PowerError):
    """The memory that a server is to be limited to while it runs is less than what it uses."""

    code = "limit_below_use"


class Incomplete(PowerError):
    """Of all servers of a node, some could not be listed or not be seen; those that were have been acted on."""

    code = "incomplete"
    always_failed = True


class IntentUnknown(PowerError):
    """The journal does not tell which servers are meant to be up, or whether one is."""

    code = "intent_unknown"


class EndpointUnreachable(PowerError):
    """The HTTP endpoint gives no usable answer: refused, silent, not TLS as expected, not JSON."""

    code = "endpoint_unreachable"
    always_failed = True


class EndpointError(PowerError):
    """The HTTP endpoint answered with an error that has no code of its own, a refused token included."""

    code = "endpoint_error"
    always_failed = True


class EndpointUntrusted(PowerError):
    """The process at the HTTP endpoint's address on this machine may not have the node's token; it was not told."""

    code = "endpoint_untrusted"


class OutcomeUnknown(PowerError):
    """The HTTP endpoint took the action, but its outcome was not seen in time."""

    code = "outcome_unknown"
    always_failed = True


class UnsupportedByEndpoint(PowerError):
    """An option that the HTTP endpoint cannot honour."""

    code = "unsupported_by_endpoint"


#: Why a server was left to its players, which says nothing of the others: no failure that a budget counts.
LEFT_TO_PLAYERS = (PlayersOnline.code, CountdownRunning.code)
#: Codes that no exception of ours carries: what a reader of the journal concludes, what the HTTP face took and could not begin in time,
#: a kill that could not be guarded, what a power cut may undo, and a fault of ours.
INTERRUPTED = "interrupted"
EXPIRED = "expired"
UNGUARDED = "unguarded"
NOT_DURABLE = "not_durable"
INTERNAL_ERROR = "internal_error"


def internal_error(error: BaseException) -> str:
    """The sentence for a fault of ours: what and where, but not what it says, since that may hold anything."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" at {trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
    return f"Cannot go on: an error that should not happen, please report it: {error.__class__.__name__}{where}"


def all_codes() -> set[str]:
    """Every code a result can carry."""
    return {error.code for error in PowerError.__subclasses__()} | {INTERRUPTED, EXPIRED, UNGUARDED, NOT_DURABLE, INTERNAL_ERROR}
