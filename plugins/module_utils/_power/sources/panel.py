# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Panel as a source: the servers of this node, and their current definitions.

The Panel gives any node the definition of any server. So a server belongs to this node only if the node's list has it: a start elsewhere
would boot a second copy of its world.

Requests are as those of Wings: the node's own token, and back-off after no answer, a redirect or a server error.
"""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..definitions.definition import Definition, parse_definition
from ..definitions.definition_files import uuid_in
from ..definitions.settings import Settings
from ..host.concurrency import map_concurrently
from ..model.cancellation import CheckCancelled, Deadline, no_check
from ..model.clock import Clock
from ..model.errors import PowerError, SettingsInvalid, SourceDenied, SourceUnreachable
from ..model.plain import as_map, read_whole
from ..model.records import dataclass, field
from ..model.redaction import shown_address
from ..model.schema import blanked
from ..model.server import parse_uuid
from .web import Answer, Web
from .web_fault import WebFault

_BASE = "/api/remote"
_DENIED = (400, 401, 403)
#: Wings' pauses in seconds: the first, the growth, the longest; each varies by half.
_FIRST_PAUSE, _GROWTH, _LONGEST_PAUSE = 0.5, 1.5, 12.0
#: A later try with less time left than this explains nothing if it times out.
_TELLING_SECONDS = 1.0
_LONGEST_DETAIL = 200
_MOST_PAGES = 1000
_PAGES_AT_ONCE = 4
_MOST_SERVERS = 20_000
_MOST_BYTES = 64 * 1024 * 1024
#: A hundred for each of the most servers.
_MOST_VALUES = 2_000_000
#: How long a list counts as fresh, and how long a failed fetch shortens the patience of others.
_FRESH_SECONDS = 10.0
_LOOK_SECONDS = 0.25
_AT_ONCE = 8


@dataclass(frozen=True)
class Patience:
    """The time limit of one request with all its tries, in seconds, and whether there are retries."""

    seconds: float
    retries: bool = True


class PanelUnavailable(Exception):
    """The Panel gives no usable answer. The text is the reason."""


class PanelApi:
    """The Panel at the settings' ``remote``. Thread-safe. Its errors show nothing of a definition or token."""

    def __init__(self, settings: Settings, clock: Clock, *, chance: Callable[[], float] = random.random) -> None:
        self.address = shown_address(settings.remote.rstrip("/"))
        self._settings = settings
        self._clock = clock
        self._chance = chance

    def server(self, uuid: str, patience: Patience, check_cancelled: CheckCancelled) -> Any:
        """Return the raw definition of one server of any node, or None.

        Raises `PanelUnavailable`, `SourceDenied`, `SettingsInvalid`, `MissingLibrary`, and what ``check_cancelled`` raises.
        """
        answer = self._get(f"/servers/{uuid}", None, patience, check_cancelled)
        return None if answer.status == 404 else _good(answer).value

    def page(self, number: int, patience: Patience, check_cancelled: CheckCancelled) -> Answer:
        """Return a page of this node's list, counted from 1. Raises as `server`."""
        return _good(self._get("/servers", {"page": number, "per_page": self._settings.remote_per_page}, patience, check_cancelled))

    def unreachable(self, what: str, reason: object) -> SourceUnreachable:
        return SourceUnreachable(
            f"Cannot fetch {what} from the Panel at {self.address}: {reason}; check the Panel, and remote in the settings"
        )

    def _get(self, path: str, params: Mapping[str, object] | None, patience: Patience, check_cancelled: CheckCancelled) -> Answer:
        deadline, tries = Deadline.after(self._clock, patience.seconds), 0
        while True:
            tries += 1
            seconds = min(deadline.left, self._settings.remote_timeout)
            try:
                return self._once(path, params, seconds, check_cancelled)
            except WebFault as fault:
                if tries == 1 or fault.lasting or seconds >= _TELLING_SECONDS:
                    reason, hopeless = str(fault), fault.lasting
            except PanelUnavailable as fault:
                reason, hopeless = str(fault), False
            pause = min(_FIRST_PAUSE * _GROWTH ** (tries - 1), _LONGEST_PAUSE) * (0.5 + self._chance())
            if hopeless or not patience.retries or pause >= deadline.left:
                raise PanelUnavailable(reason if tries == 1 else f"{reason} ({tries} tries)")
            Deadline.after(self._clock, pause).wait_out(check_cancelled, every=_LOOK_SECONDS)

    def _once(self, path: str, params: Mapping[str, object] | None, seconds: float, check_cancelled: CheckCancelled) -> Answer:
        """Make one try. `_get` catches only errors that a retry may fix."""
        answer = self._web.ask("GET", f"{_BASE}{path}", params=params, seconds=seconds, check_cancelled=check_cancelled)
        if answer.status in _DENIED:
            raise SourceDenied(
                f"Cannot use the Panel at {self.address}: it refuses this node's token ({_error_text(answer)}); "
                "check the settings token_id and token, and that this node exists there"
            )
        if answer.status >= 500 or 300 <= answer.status < 400:
            raise PanelUnavailable(f"it answers {_error_text(answer)}")
        return answer

    @functools.cached_property
    def _web(self) -> Web:
        settings = self._settings
        headers = {
            "Accept": "application/vnd.pterodactyl.v1+json",
            "Content-Type": "application/json",
            "User-Agent": f"fleet.power (id:{settings.token_id})",
        }
        try:
            authorization = f"Bearer {settings.token_id}.{settings.token}"
            # A boot uses a definition unmasked.
            return Web(settings.remote, authorization, headers=headers, verbatim=True)
        except WebFault as fault:
            raise SettingsInvalid(
                f"Cannot use the Panel at {self.address}: {fault}; correct remote, token_id and token in the settings"
            ) from None


def _good(answer: Answer) -> Answer:
    """Return a successful answer in JSON. Raises `PanelUnavailable` for any other."""
    if not 200 <= answer.status < 300:
        raise PanelUnavailable(f"it answers {_error_text(answer)}")
    if answer.value is None:
        raise PanelUnavailable("its answer is not JSON")
    return answer


def _error_text(answer: Answer) -> str:
    """Return the Panel's error text: only the first of several, as Wings does."""
    try:
        first = answer.value["errors"][0]
        words = ": ".join(str(first[key]) for key in ("code", "detail") if first.get(key))
    except (TypeError, LookupError, AttributeError):
        words = ""
    words = blanked(words)[:_LONGEST_DETAIL]
    return f"HTTP {answer.status}, {words}" if words else f"HTTP {answer.status}"


#: Time limits in seconds, of one request and of the whole list: for actions, and for reads.
_PATIENT, _LONGEST_LIST = Patience(30.0), 120.0
_BRIEF, _BRIEF_LIST = Patience(10.0, retries=False), 10.0


@dataclass(frozen=True)
class PanelList:
    """The servers of this node with the Panel's raw definitions; ``strays`` counts entries without a server."""

    servers: Mapping[str, Any] = field(repr=False)
    strays: int = 0


def read_list(api: PanelApi, clock: Clock, patience: Patience, seconds: float) -> PanelList:
    """Read all pages; ``patience`` is for each, ``seconds`` for all. Raises `PanelUnavailable`, and what `PanelApi` raises."""
    deadline = Deadline.after(clock, seconds)
    pages: list[Answer] = []
    faults: list[BaseException] = []

    def look() -> None:
        if faults:
            raise faults[0]

    def read_page(number: int) -> Any:
        try:
            left = deadline.left
            if not left:
                raise PanelUnavailable(f"its list takes longer than {seconds:.0f} s")
            page = api.page(number, Patience(min(left, patience.seconds), patience.retries), look)
            pages.append(page)
            _refuse_too_much(pages)
        except BaseException as error:
            # It ends the pages that are under way too.
            faults.append(error)
            raise
        return page.value

    first = read_page(1)
    others: list[Any] = map_concurrently(read_page, range(2, _last_page(first) + 1), at_once=_PAGES_AT_ONCE)
    servers: dict[str, Any] = {}
    strays = 0
    for entry in (entry for page in (first, *others) for entry in _entries(page)):
        uuid = uuid_of(entry)
        if uuid is None:
            strays += 1
        else:
            servers.setdefault(uuid, without_uuid(entry))
    return PanelList(servers, strays)


def _refuse_too_much(pages: Sequence[Answer]) -> None:
    if sum(len(_entries(page.value)) for page in pages) > _MOST_SERVERS:
        raise PanelUnavailable(f"its list has more than {_MOST_SERVERS} servers")
    if sum(page.size for page in pages) > _MOST_BYTES:
        raise PanelUnavailable(f"its list is larger than {_MOST_BYTES // 1024 // 1024} MiB")
    if sum(page.values for page in pages) > _MOST_VALUES:
        raise PanelUnavailable(f"its list holds more than {_MOST_VALUES} values")


def uuid_of(entry: Any) -> str | None:
    """Return the UUID of an entry. It counts even if the definition inside has another."""
    uuid = as_map(entry).get("uuid")
    return parse_uuid(uuid) if isinstance(uuid, str) else uuid_in(entry)


def without_uuid(entry: Any) -> Any:
    """Return an entry as the Panel writes it for a single server, so that kept files do not depend on the request."""
    return {key: value for key, value in entry.items() if key != "uuid"}


def _entries(page: Any) -> list[Any]:
    entries = as_map(page).get("data")
    if not isinstance(entries, list):
        raise PanelUnavailable("its list of servers is not a list")
    return entries


def _last_page(page: Any) -> int:
    last = read_whole(as_map(as_map(page).get("meta")).get("last_page"), below=_MOST_PAGES + 1)
    if last is None:
        raise PanelUnavailable(f"its list of servers does not say how many pages it has, or more than {_MOST_PAGES}")
    return last


@dataclass
class _Reading:
    began: float
    over: threading.Event = field(default_factory=threading.Event)
    found: PanelList | None = None
    error: BaseException | None = None
    ended: float = 0.0


class Panel:
    """The Panel during one call. All threads share one read of the list, and a new one if it is too old.

    They share its failure too: for the whole call if the list was never read, else for 10 s. Methods raise `SourceUnreachable` (no usable
    answer), `SourceDenied` (bad token), `SettingsInvalid`, `MissingLibrary`, and as ``check_cancelled``, which runs at least every second.
    """

    def __init__(self, settings: Settings, clock: Clock, api: PanelApi | None = None) -> None:
        self._api = PanelApi(settings, clock) if api is None else api
        self.address = self._api.address
        #: The last list read.
        self.seen: PanelList | None = None
        #: The monotonic times at which the Panel gave the last results of `definition`, by server.
        self.fetched_at: dict[str, float] = {}
        self._clock = clock
        self._guard = threading.Lock()
        self._reading: _Reading | None = None
        self._slots = threading.BoundedSemaphore(_AT_ONCE)
        #: Until then, a fetch has only one try.
        self._troubled = Deadline(clock, 0.0)

    def listed(self, check_cancelled: CheckCancelled = no_check, *, brief: bool = False) -> PanelList:
        """Return the list of any age; read it now if there is none. ``brief``: one try of at most 10 s."""
        return self.seen or self._awaited(self._started(brief=brief)[0], check_cancelled)

    def definition(self, uuid: str, *, again: bool = False, check_cancelled: CheckCancelled = no_check) -> Definition | None:
        """Return a server's definition: as listed up to 10 s ago or, with ``again``, as it is now. None if it is not this node's.

        The list alone decides that, so an older one is read again. Raises `DefinitionInvalid`, too.
        """
        self.fetched_at.pop(uuid, None)
        reading, is_mine = self._started()
        listed = self._awaited(reading, check_cancelled).servers
        if uuid not in listed:
            return None
        raw, fetched_at = listed[uuid], reading.began
        if again and not is_mine:
            # A shared read may have begun before this request.
            fetched_at = self._clock.monotonic()
            raw = self._fetch(uuid, check_cancelled)
            if raw is None:
                return None
        self.fetched_at[uuid] = fetched_at
        return self._parsed(uuid, raw)

    def seen_definition(self, uuid: str) -> Definition | None:
        """Return a definition of the last list, without a new request; None if there is none. Raises `DefinitionInvalid`."""
        servers = {} if self.seen is None else self.seen.servers
        return self._parsed(uuid, servers[uuid]) if uuid in servers else None

    def _parsed(self, uuid: str, raw: Any) -> Definition:
        return parse_definition(raw, where=f"of server {uuid} on the Panel at {self.address}", expect_uuid=uuid)

    def _started(self, *, brief: bool = False) -> tuple[_Reading, bool]:
        """Return the current read, or a new one if it is too old, and whether it is new."""
        with self._guard:
            last = self._reading
            if last is not None and not self._is_outdated(last):
                return last, False
            reading = self._reading = _Reading(self._clock.monotonic())
        try:
            # A separate thread: the first caller may leave while others still wait.
            threading.Thread(target=self._read, args=(reading, brief), name="panel", daemon=True).start()
        except RuntimeError:
            self._read(reading, brief)
        return reading, True

    def _is_outdated(self, reading: _Reading) -> bool:
        """Tell if a read has ended and is too old. If no read ever succeeded, its failure counts for the whole call."""
        return reading.over.is_set() and self.seen is not None and self._clock.monotonic() - reading.ended > _FRESH_SECONDS

    def _awaited(self, reading: _Reading, check_cancelled: CheckCancelled) -> PanelList:
        while not reading.over.wait(_LOOK_SECONDS):
            check_cancelled()
        if reading.found is None:
            raise self._list_error(reading.error)
        return reading.found

    def _read(self, reading: _Reading, brief: bool) -> None:
        try:
            patience, seconds = (_BRIEF, _BRIEF_LIST) if brief else (_PATIENT, _LONGEST_LIST)
            reading.found = self.seen = read_list(self._api, self._clock, patience, seconds)
        except BaseException as error:
            # The waiting threads raise it.
            reading.error = error
        finally:
            reading.ended = self._clock.monotonic()
            reading.over.set()

    def _list_error(self, error: BaseException | None) -> BaseException:
        """Return a separate error for each waiting thread: raising one changes it."""
        if isinstance(error, PanelUnavailable):
            return self._api.unreachable("the list of this node's servers", error)
        if isinstance(error, PowerError):
            return type(error)(str(error), **error.facts)
        return RuntimeError() if error is None else error

    def _fetch(self, uuid: str, check_cancelled: CheckCancelled) -> Any:
        """Return one server as it is now, or None. Soon after a failed fetch, others get one try of at most 10 s."""
        while not self._slots.acquire(timeout=_LOOK_SECONDS):
            check_cancelled()
        try:
            raw = self._api.server(uuid, _PATIENT if self._troubled.is_over else _BRIEF, check_cancelled)
        except PanelUnavailable as fault:
            self._troubled = Deadline.after(self._clock, _FRESH_SECONDS)
            raise self._api.unreachable(f"the definition of server {uuid}", fault) from None
        finally:
            self._slots.release()
        return without_uuid(raw) if isinstance(raw, Mapping) else raw
