# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subcommands of ``fleet-power``, which print to a terminal or a pipe."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NoReturn, TextIO

from .._own_session import Interruptions, in_own_session, outlive_login
from .._power.actions.many.bulk import Target, refuse_bad_names
from .._power.actions.node.node import Node, build_node
from .._power.call import checked, open_call, perform_options
from .._power.definitions.definition import secrets_of
from .._power.engine.readiness import readable_lines
from .._power.host.pauses import may_be_frozen
from .._power.journal import freezes
from .._power.journal.journal import Journal
from .._power.model.caller import Caller, default_origin
from .._power.model.errors import AmbiguousServer, InterruptedBySignal, PowerError, internal_error
from .._power.model.freeze import Freeze
from .._power.model.report import Detail, called, entries, incomplete_message, summary
from .._power.model.request import ALL, PowerAction
from .._power.model.result import Outcome, Result
from .._power.model.schema import blanked
from .._power.model.server import Server
from .._power.options import INFO_OPTIONS, POWER_OPTIONS
from .._service import print_line

DONE, REFUSED, FAILED, CANCELLED = 0, 3, 4, 5
_WATCH_SECONDS, _TICK_SECONDS = 2.0, 1.0
_HOST = socket.gethostname().partition(".")[0]
_LINE_BYTES = 8192
#: Without a terminal, a table cuts nothing.
_WIDE = 400
#: The timeout of the engine for commands that only look: you do not wait long for a silent one.
_LOOK_SECONDS = 5
#: More results than this are counted, and only those that need attention have a line.
_MOST_LINES = 20
#: Lines of the log below a result that has some.
_SHOWN = 3
_RED = "unknown|failed|crashed|crash loop|should be up|should be down|unhealthy|out of memory|refused|cancelled"
_YELLOW = "starting|stopping|suspended|frozen|perhaps frozen|paused|flapping"
_COLOURED = re.compile(rf"\b(?:(?P<red>{_RED})|{_YELLOW})\b")


def code_of(error: PowerError) -> int:
    """Return the exit code for an error that ends the command."""
    return CANCELLED if error.cancels or isinstance(error, InterruptedBySignal) else FAILED if error.always_failed else REFUSED


def exit_code(results: Sequence[Result]) -> int:
    """Return the exit code for results: the first of failed, refused and cancelled that occurs."""
    found = {_code_of(result) for result in results}
    return next((code for code in (FAILED, REFUSED, CANCELLED) if code in found), DONE)


def _code_of(result: Result) -> int:
    if result.code == InterruptedBySignal.code:
        return CANCELLED
    return {Outcome.FAILED: FAILED, Outcome.REFUSED: REFUSED, Outcome.CANCELLED: CANCELLED}.get(result.outcome, DONE)


def out(text: str, *, colours: bool = False, to: TextIO | None = None) -> None:
    """Write lines to standard output, or another stream."""
    stream = to or sys.stdout
    if colours and stream.isatty() and not os.environ.get("NO_COLOR"):
        text = _COLOURED.sub(lambda found: f"\033[{31 if found['red'] else 33}m{found[0]}\033[0m", text)
    try:
        stream.write(text.encode(stream.encoding or "utf-8", "replace").decode(stream.encoding or "utf-8") + "\n")
        stream.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            say(f"Cannot write the output: {error.strerror}")
        raise BrokenPipeError from error


def say(text: str) -> None:
    """Write a line for people to standard error."""
    print_line(text, sys.stderr)


def width(without_terminal: int = 80) -> int:
    return shutil.get_terminal_size((without_terminal, 24)).columns


def act(given: argparse.Namespace) -> int:
    """Start, stop, restart or kill, in a session of its own: a closed SSH connection must not end a stop half-way."""
    options = {**{name: option.default for name, option in POWER_OPTIONS.items()}, **vars(given)}
    options = checked({**options, "action": given.command, "server": given.names}, say)

    def work(interrupted: Interruptions) -> None:
        if given.command != "kill":  # It must not wait for the system bus.
            outlive_login(os.getpid(), f"fleet-power-command-{os.getpid()}")
        raise SystemExit(guarded(lambda: _perform(options, given, interrupted)))

    def killed(status: int) -> NoReturn:
        say(f"Cannot tell how it ended: its process was ended by signal {os.WTERMSIG(status)}; see fleet-power why")
        raise SystemExit(FAILED)

    in_own_session(work, killed)


start = stop = restart = kill = act


def guarded(work: Callable[[], int]) -> int:
    """Do the work; return its exit code. An error becomes one line."""
    try:
        return work()
    except PowerError as error:
        say(f"{error} ({error.code})")
        return code_of(error)
    except KeyboardInterrupt:
        return CANCELLED
    except BrokenPipeError:
        # Python would complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except Exception as error:
        say(internal_error(error))
    return FAILED


def _perform(options: Mapping[str, Any], given: argparse.Namespace, interrupted: Interruptions) -> int:
    progress, action = _Progress(), PowerAction(options["action"])
    if not (given.json or given.check):
        threading.Thread(target=progress.show, daemon=True).start()
    caller = Caller(interrupted, listener=lambda news: progress.take(news.line()))

    def begin(targets: Sequence[Target]) -> None:
        refuse_bad_names(targets)
        progress.take({"servers": len(targets)})

    performed = perform_options(options, caller, check=given.check, diff=False, begin=begin)
    progress.is_over.set()
    results, warnings = performed.results, list(dict.fromkeys(performed.warnings))
    missed = incomplete_message(action, results, performed.unlisted) if given.names == [ALL] else ""
    if given.json:
        shown = entries(results, check=given.check, all_steps=False, detail=Detail.WHOLE)
        changed = any(result.changed for result in results)
        out(json.dumps({"action": action.value, "changed": changed, "servers": shown, "summary": summary(results), "warnings": warnings}))
    else:
        for warning in warnings:
            say(warning)
        for line in _result_lines(results, action, check=given.check):
            out(blanked(line), colours=True)
    if missed:
        say(missed)
    return FAILED if missed else exit_code(results)


def _result_lines(results: Sequence[Result], action: PowerAction, *, check: bool) -> Iterator[str]:
    if not results:
        yield f"No server to {action.value}."
    for result in results:
        if len(results) <= _MOST_LINES or _code_of(result):
            outcome = "would be done" if check and result.outcome is Outcome.DONE else result.outcome.value
            code, msg = f", {result.code}" if result.code else "", f": {result.msg}" if result.msg else ""
            seconds = f" in {result.seconds:.1f} s" if result.outcome is Outcome.DONE and not check else ""
            yield f"{called(result)}: {action.value} {outcome}{code}{seconds}{msg}"
            yield from (f"  {line}" for line in result.log[-_SHOWN:])
    if len(results) > 1:
        yield ", ".join(f"{count} {outcome}" for outcome, count in summary(results).items() if outcome != "text")


class _Progress:
    """The lines of progress on standard error. A short action shows only its result."""

    def __init__(self) -> None:
        from .._fleet.progress import Board

        self._board = Board({})
        self._board.begin(_HOST)
        self._guard = threading.Lock()
        self.is_over = threading.Event()

    def take(self, line: Mapping[str, Any]) -> None:
        with self._guard:
            self._board.take(_HOST, [json.dumps(line)], time.time())

    def show(self) -> None:
        """Show the lines until ``is_over``."""
        while not self.is_over.wait(_TICK_SECONDS):
            with self._guard:
                lines = self._board.lines(time.time())
            for line in lines:
                say(line)


@contextlib.contextmanager
def _node_of(given: argparse.Namespace, *, read_only: bool = True, timeout: int | None = None) -> Iterator[Node]:
    """Give the node, and close its journal at the end. ``timeout``: that of the engine in seconds, else the default."""
    node = build_node({"config": given.config, "timeout": timeout}, read_only=read_only)
    with contextlib.closing(node.journal):
        yield node


def status(given: argparse.Namespace) -> int:
    """Show the servers of the node, once or again and again. ``--names`` is for the completion: it asks no engine."""
    if given.names_only:
        with _node_of(given) as node:
            out("\n".join(server.name or server.short_id for server in node.sources.listing.everything(None)))
        return DONE
    if not given.watch:
        return _show_status(given)
    ended = threading.Event()

    def end(*_signal: object) -> None:
        # Python drops an exception of a signal that comes during a callback of the garbage collector.
        ended.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, end)
    with contextlib.suppress(KeyboardInterrupt):
        while not ended.is_set():
            try:
                _show_status(given)
            except PowerError as error:
                say(f"{error} ({error.code})")  # The engine may come back.
            ended.wait(_WATCH_SECONDS)
    return DONE


def _show_status(given: argparse.Namespace) -> int:
    facts = _facts(given, given.names)
    text = json.dumps(facts) if given.json else "\n".join(_shown(facts, given))
    clears = given.watch and not given.json and sys.stdout.isatty()
    out(f"\033[H\033[2J{text}" if clears else text, colours=not (given.plain or given.json))
    if not (facts["complete"] and all(entry["state"] for entry in facts["servers"])):
        return FAILED
    is_missing = any(warning.startswith("Cannot find server ") for warning in facts["warnings"])
    return REFUSED if is_missing and given.names not in ([], [ALL]) else DONE


def _facts(given: argparse.Namespace, names: Sequence[str], **wanted: int) -> dict[str, Any]:
    """Return the result of server_power_info. Raises `PowerError`."""
    from .._power.actions.many.server_facts import FactOptions, ask_players

    options = {**dict.fromkeys(INFO_OPTIONS), "config": given.config, "timeout": _LOOK_SECONDS}
    with contextlib.closing(open_call(options, read_only=True)) as call:
        found = call.describe(names, FactOptions(count_players=ask_players, **wanted), check=False)
    warnings = list(dict.fromkeys((*call.warnings(), *found.warnings)))
    why = {} if found.complete else {"msg": "; ".join(found.unlisted)}
    node = {"supervisor": found.supervisor, "events": found.events, "freeze": found.freeze}
    return {"complete": found.complete, "servers": found.entries, **node, "warnings": warnings, **why}


def _shown(facts: Mapping[str, Any], given: argparse.Namespace) -> list[str]:
    from .._fleet.status import node_seen, plain_lines, status_lines

    for warning in facts["warnings"]:
        say(warning)
    nodes, now = [node_seen(_HOST, {}, facts)], datetime.now(timezone.utc)
    return plain_lines(nodes, now) if given.plain else status_lines(nodes, now=now, width=width(_WIDE))


def why(given: argparse.Namespace) -> int:
    """Explain each server, one after the other. All servers of one name have their turn."""
    from .gather import gather
    from .why import why_lines

    faults: list[PowerError] = []
    with _node_of(given, timeout=_LOOK_SECONDS) as node:
        servers = [server for name in given.names for server in _called(node, name, faults)]
        for number, server in enumerate(servers):
            if number:
                out("")
            for line in why_lines(gather(node, server)):
                for part in wrapped_line(line):
                    out(part, colours=True)
    for fault in faults:
        say(f"{fault} ({fault.code})")
    return code_of(faults[-1]) if faults else DONE


def wrapped_line(line: str) -> list[str]:
    """Return a sentence in lines of the terminal's width. The lines after the first are indented."""
    from .._fleet.table import wrapped

    indent = len(line) - len(line.lstrip())
    first, *others = wrapped(line.strip(), max(width() - 4 - indent, 20))
    return [" " * indent + first, *(" " * (indent + 4) + each for each in others)]


def _called(node: Node, name: str, faults: list[PowerError]) -> list[Server]:
    """Return the servers of a name. If there is none, append the reason to ``faults``."""
    from .._power.actions.many.bulk import everything

    if name == ALL:
        return everything(node, None)
    try:
        return [node.sources.search.identify_to_look(name)]
    except AmbiguousServer as error:
        say(str(error))
        return [Server(uuid, uuid) for uuid in error.facts["servers"]]  # type: ignore[attr-defined]
    except PowerError as error:
        faults.append(error)
        return []


def log(given: argparse.Namespace) -> int:
    """Show the end of a server's output, and with ``--follow`` new lines until Ctrl-C or the end of the run."""
    with _node_of(given) as node:
        server = node.sources.search.identify_to_look(given.names[0])
        snapshot = node.engine.inspect(server.uuid)
        if snapshot is None:
            return _ended_log(node, server, given.lines)
        definition = node.sources.definition_for_stop(server.uuid)
        secrets = snapshot.secrets | secrets_of(definition)

        def show(text: bytes, count: int) -> None:
            for line in readable_lines(text, count, _LINE_BYTES, secrets):
                out(line)

        if not (given.follow and snapshot.live):
            show(node.engine.logs.tail(snapshot.id, given.lines), given.lines)
            return DONE
        pending = b""
        with contextlib.suppress(KeyboardInterrupt):
            for chunk in node.engine.logs.follow(snapshot.id, given.lines):
                # Enough of an unfinished line that a cut secret is not shown.
                complete, _newline, pending = (pending[: 8 * _LINE_BYTES] + chunk).rpartition(b"\n")
                show(complete, complete.count(b"\n") + 1)
            show(pending, 1)
            say("The run has ended.")
    return DONE


def _ended_log(node: Node, server: Server, lines: int) -> int:
    """Show the last lines of the last ended run, which the journal keeps."""
    history = node.journal.ended_runs.history([server.uuid], 1, node.clock.now())
    row = next(iter(history.latest.get(server.uuid, ()) if history else ()), None)
    if row is None:
        for warning in node.journal.warnings:
            say(warning)
        runs = "its ended runs are unknown" if history is None else "no ended run here"
        say(f"Server {server.name or server.short_id} has no container, and {runs}.")
        return FAILED if history is None else REFUSED
    say(f"It has no container; the journal keeps {'the last lines' if row.log else 'no lines'} of its run until {row.ended_at or row.at}.")
    for line in row.log[max(len(row.log) - lines, 0) :]:
        out(line)
    return DONE


def freeze(given: argparse.Namespace) -> int:
    until = datetime.fromtimestamp(given.until, timezone.utc)
    wanted: dict[str, Any] = {"until": until, "reason": given.reason, "supervisor": given.supervisor, "origin": default_origin()}
    return _change_freezes(given, lambda journal, servers: freezes.freeze(journal.freezes, servers, **wanted), "Frozen")


def thaw(given: argparse.Namespace) -> int:
    origin = default_origin()
    return _change_freezes(given, lambda journal, servers: freezes.thaw(journal.freezes, servers or None, origin=origin), "Thawed")


def define(given: argparse.Namespace) -> int:
    from .define import define as define_server

    with _node_of(given) as node:
        text, take_over = define_server(given.names[0], node, write=given.write)
    out(text.rstrip("\n"))
    if take_over:
        out(take_over, to=sys.stderr)
    return DONE


def _change_freezes(given: argparse.Namespace, change: Callable[[Journal, list[Server]], list[Freeze]], done: str) -> int:
    with _node_of(given, read_only=False) as node:
        named = (node.sources.search.identify_to_look(name) for name in given.names if given.names != [ALL])
        was_frozen = may_be_frozen(node.settings.state_directory)
        changed = change(node.journal, list(dict.fromkeys(named)))
        # The journal may be unreadable, or the end of a process left only the file of its freeze.
        is_unknown_ended = not changed and was_frozen and not may_be_frozen(node.settings.state_directory)
        moment = node.journal.freezes.moment()
    if given.json:
        facts = [{"server": each.uuid or None, "name": each.name, **each.facts(moment)} for each in changed]
        out(json.dumps({"changed": bool(changed) or is_unknown_ended, "freezes": facts}))
        return DONE
    for each in changed:
        what = "the node" if not each.uuid else each.name or each.uuid
        out(f"{done}: {what}" + (f" until {each.end(moment)}: {each.reason}" if done == "Frozen" else ""))
    if not changed:
        out("Thawed: a freeze that the journal does not show." if is_unknown_ended else "Nothing was frozen.")
    return DONE
