# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of the HTTP shim: begin, listen, reload settings, and end without the loss of accepted actions."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import replace
from typing import Any

from .._power.actions.many.bulk import allow_files
from .._power.definitions.settings import Settings, load_settings
from .._power.model.errors import PowerError, SettingsInvalid, internal_error
from .._power.model.result import Result
from .._service import ServiceManager, own_lock
from .acceptance.actions import Actions, keep_calling_off
from .acceptance.operations import Operations
from .acceptance.queue import Ticket
from .acceptance.shared_node import SharedNode
from .http.listener import Listener, load_certificate, tls_context
from .http.log import Log
from .http.worker_pool import ThreadRefused, WorkerPool
from .routes.about import AboutRoutes, Metrics, document
from .routes.power import EventRoutes, PowerRoutes
from .routes.router import Backend, Router, declared
from .routes.servers import ServerRoutes
from .servers.census import Census
from .servers.commands import Commands
from .servers.disks import Disks
from .servers.server_cache import ServerCache
from .websocket.route import WebsocketRoutes

_WATCH_SECONDS = 1.0
#: The wanted limit of open files: a connection needs one.
_FILES = 65536
_READERS = 8
#: Seconds between two questions for the engine's version.
_ENGINE_SECONDS = 60.0
_SWITCH_SECONDS = 0.001
ROUTES = tuple(
    route for group in (AboutRoutes, ServerRoutes, PowerRoutes, EventRoutes, WebsocketRoutes) for route, _name in declared(group)
)
_OTHERS = 0o007
#: Settings that only a new process can change.
FIXED = (
    *("api_host", "api_port", "api_ssl_enabled", "api_max_connections", "api_request_timeout"),
    *("lock_directory", "state_directory", "group", "docker_host"),
)


def read_settings(path: str) -> Settings:
    """Read the settings. Raises `SettingsInvalid` (also without a token, or if others can read the file), `MissingLibrary`."""
    settings = load_settings(path)
    for file in (path, settings.wings_config):
        if file is not None:
            _require_private(file)
    if not settings.token.strip():
        raise SettingsInvalid(
            f"Cannot serve HTTP: {path} has no token; set token to a secret of your own, or name Wings' file in wings_config"
        )
    if settings.token != settings.token.strip() or not settings.token.isprintable():
        raise SettingsInvalid(
            f"Cannot serve HTTP: the token in {path} has control characters, or blanks at an end, which no request can bring; set another"
        )
    return settings


def applicable(old: Settings, new: Settings) -> tuple[Settings, list[str]]:
    """Return the new settings as far as they can apply now, and the names of those that need a new process."""
    changed = [name for name in FIXED if getattr(old, name) != getattr(new, name)]
    return replace(new, **{name: getattr(old, name) for name in changed}), changed


def _require_private(path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise SettingsInvalid(f"Cannot read settings {path}: {error.strerror}") from error
    if mode & _OTHERS:
        raise SettingsInvalid(
            f"Cannot serve HTTP: the token is in {path}, which everybody may use (mode {mode & 0o777:04o}); chmod 0640 it"
        )


def _mark(path: str) -> tuple[int, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns


class Service:
    """One process of the HTTP shim, on the settings in one file."""

    def __init__(self, path: str, settings: Settings, log: Log) -> None:
        self._path = path
        self._settings = settings
        # Note them now: much time may pass before the first look at the files.
        self._seen = self._marks()
        self._log = log
        self._service_manager = ServiceManager()
        self._ending = asyncio.Event()
        # A separate thread: a hanging disk must not block the event loop.
        self._files, self._reloading = WorkerPool(1, "settings"), asyncio.Lock()
        self._reload_asked: asyncio.Task[None] | None = None
        self._node = SharedNode(settings, self._ending.is_set)
        self._operations = Operations(self._node, WorkerPool(_READERS, "read"))
        self._known = ServerCache(self._node, log)
        self._actions = Actions(self._node, self._operations, log, self._ended)
        self._tls = tls_context(settings) if settings.api_ssl_enabled else None
        backend = Backend(self._node, self._known, self._actions, self._operations, Commands(self._node), Disks(), log)
        servers = ServerRoutes(backend)
        self._metrics = Metrics(self._gauges)
        about = AboutRoutes(self._metrics, Census(self._node, self._known, log), self._is_well, document(ROUTES))
        websockets = WebsocketRoutes(backend)
        self._rooms = websockets.rooms
        events = EventRoutes(backend)
        self._followers = events.followers
        groups = (about, servers, PowerRoutes(backend), events, websockets)
        self._router = Router(lambda: self._settings, self._known, log, groups)
        self._listener = Listener(self._router.respond, settings, self._tls)

    async def run(self) -> None:
        """Serve until a signal comes. Raises `LockUnavailable` if another process serves, and errors of the startup."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_fault)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ending.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        allow_files(_FILES)
        # Let threads that compute yield to the event loop sooner.
        sys.setswitchinterval(_SWITCH_SECONDS)
        hint = f", with the lock directory {self._settings.lock_directory}"
        with own_lock(self._settings, "shim.lock", "serve HTTP", hint):
            # Bind first: without the address the process must begin nothing.
            await self._listener.bind()
            # The first request finds the servers, and accepted actions before its own.
            await self._known.load()
            await self._actions.resume()
            await self._listener.open()
            self._log.note("listening", address=self._listener.address, pid=os.getpid())
            self._service_manager.ready()
            tasks = [
                asyncio.ensure_future(each)
                for each in (self._watch_files(), self._show_life(), self._warn_of_engine(), keep_calling_off(self._node, self._log))
            ]
            await self._ending.wait()
            for task in tasks:
                task.cancel()
            await self._end()

    async def _end(self) -> None:
        self._service_manager.stopping()
        self._log.note("ending", under_way=self._actions.queues.under_way)
        self._listener.stop()
        self._rooms.close()
        self._operations.over.set()
        self._followers.close()
        running = await self._actions.close(float(self._settings.api_shutdown_timeout))
        if running:
            self._log.warn("left_behind", actions=running)
        await self._listener.close()
        self._known.close()
        self._node.close()
        self._log.note("ended")

    def _is_well(self) -> bool:
        return self._actions.acceptor.alive and not self._actions.acceptor.stuck and not self._ending.is_set()

    def _gauges(self) -> dict[str, float]:
        return {
            "actions_under_way": self._actions.queues.under_way,
            "actions_waiting": self._actions.queues.waiting,
            "journal_writes_owed": len(self._node.journal.late_writes),
            "connections": self._listener.connections,
            "websockets": self._rooms.count(),
            "event_readers": self._followers.waiting,
        }

    def _on_fault(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an unseen fault of ours. The library would write a traceback among the log's lines."""
        error = context.get("exception")
        reason = internal_error(error) if isinstance(error, Exception) else str(context.get("message", ""))
        self._log.error("fault", reason=reason)

    def _ended(self, ticket: Ticket, result: Result) -> None:
        self._known.learn(result)
        self._metrics.ended(result, ticket.turn_seconds)
        self._rooms.look(result.server.uuid)
        self._log.note(
            "operation",
            operation=result.operation,
            server=result.server.uuid,
            action=result.action.value,
            origin=ticket.acceptance.origin,
            outcome=result.outcome.value,
            code=result.code,
            msg=result.msg,
            # The user of a websocket may not have seen the warnings.
            warnings=result.warnings or None,
            seconds=result.seconds,
        )

    def _hang_up(self) -> None:
        self._reload_asked = asyncio.ensure_future(self._reload())

    async def _reload(self) -> None:
        async with self._reloading:
            self._service_manager.reloading()
            try:
                await self._read_files()
            except Exception as error:
                self._log.error("fault", reason=internal_error(error))
            self._service_manager.ready()

    async def _read_files(self) -> None:
        try:
            read = await self._files.ask(lambda: read_settings(self._path))
            settings, fixed = applicable(self._settings, read)
        except (PowerError, ThreadRefused) as error:
            self._log.error("settings_not_reloaded", reason=str(error))
        else:
            self._use(settings)
            self._log.note("settings_reloaded", need_a_restart=fixed or None)
        tls = self._tls
        if tls is None:
            return
        try:
            await self._files.ask(lambda: load_certificate(tls, self._settings))
        except (PowerError, ThreadRefused) as error:
            self._log.error("certificate_not_reloaded", reason=str(error))

    def _use(self, settings: Settings) -> None:
        """Use new settings. The node's token signs the tokens of consoles, so a new one ends all consoles."""
        before, self._settings = self._settings, settings
        self._node.use(settings)
        if settings.token != before.token:
            self._log.note("token_changed", closed=self._rooms.shut_out())

    async def _watch_files(self) -> None:
        while True:
            try:
                now = await self._files.ask(self._marks)
                # The next look sees changes during the reload.
                changed, self._seen = self._seen != now, now
                if changed:
                    await self._reload()
                for sentence in self._node.journal.new_warnings():
                    self._log.warn("journal", reason=sentence)
            except Exception as error:
                self._log.error("fault", reason=internal_error(error))
            await asyncio.sleep(_WATCH_SECONDS)

    async def _warn_of_engine(self) -> None:
        """Log known faults of the engine's version, once it answers."""
        threads = WorkerPool(1, "engine")
        while True:
            with contextlib.suppress(PowerError, ThreadRefused):
                for warning in (await threads.ask(self._node.for_reading().engine.version)).warnings():
                    self._log.warn("engine", reason=warning)
                return
            await asyncio.sleep(_ENGINE_SECONDS)

    def _marks(self) -> tuple[tuple[int, int, int], ...]:
        """Return marks that change with the files of the settings; a missing file has a mark, too."""
        settings = self._settings
        secured = (settings.api_ssl_cert, settings.api_ssl_key) if settings.api_ssl_enabled else ()
        return tuple(_mark(file) for file in (self._path, settings.wings_config, *secured) if file)

    async def _show_life(self) -> None:
        """Send signs of life while the event loop turns and actions can be accepted."""
        seconds = self._service_manager.life_seconds
        while seconds is not None and self._actions.acceptor.alive:
            self._service_manager.alive()
            await asyncio.sleep(seconds / 2)


def serve(path: str) -> None:
    """Serve with the settings in a file until a signal comes. Raises `PowerError` if it cannot begin."""
    settings = read_settings(path)
    log = Log()
    for warning in settings.warnings:
        log.warn("settings", reason=warning)

    async def run() -> None:
        await Service(path, settings, log).run()

    try:
        asyncio.run(run())
    finally:
        log.close()
