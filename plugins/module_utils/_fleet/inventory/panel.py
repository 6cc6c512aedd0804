# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers of the Panel, from its Application API: their nodes and eggs, without power states."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..._power.model.errors import SettingsInvalid, SourceDenied, SourceUnreachable
from ..._power.model.plain import read_flag, read_whole
from ..._power.model.redaction import shown_address
from ..._power.model.server import parse_uuid
from ..._power.sources.web import Answer, Trust, Web
from ..._power.sources.web_fault import WebFault
from .entry import ServerEntry, SourceKind, SourceReading, is_address, text_or_none
from .options import PanelWanted

_BASE = "/api/application"
_PER_PAGE = 100
_MOST_PAGES = 1000
_AT_ONCE = 4
_TRIES = 3
#: Seconds before the second try, their growth, and the most seconds that a Retry-After of the Panel can ask for.
_PAUSE, _GROWTH, _LONGEST_PAUSE = 0.5, 2.0, 10.0


def read_panel(wanted: PanelWanted, timeout: int) -> SourceReading:
    """Return all servers of the Panel, with the names of its nodes. ``timeout`` is in seconds, for each exchange; three tries. Raises
    `SourceUnreachable`, `SourceDenied`, `SettingsInvalid`, `MissingLibrary`."""
    api = _Api(wanted, timeout)
    with contextlib.closing(api), ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            asked_nodes, asked_eggs = pool.submit(_all_pages, api, "/nodes"), pool.submit(_eggs, api)
            servers = _all_pages(api, "/servers", pool.map)
            nodes, (eggs, warnings) = _numbered(asked_nodes.result()), asked_eggs.result()
        except BaseException:
            # Otherwise the pool still requests every page.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    found: dict[str, ServerEntry] = {}
    strays = 0
    for attributes in servers:
        entry = _entry(attributes, nodes, eggs)
        if entry is None:
            strays += 1
        else:
            found.setdefault(entry.uuid, entry)
    if strays:
        warnings = (*warnings, f"the Panel at {api.address} lists {strays} servers without a UUID, which are left out")
    return SourceReading(SourceKind.PANEL, None, tuple(found.values()), addresses=_addresses(nodes), warnings=warnings)


class _Api:
    """The Application API. Threads may share it. No error shows the key."""

    def __init__(self, wanted: PanelWanted, timeout: int) -> None:
        self.address = shown_address(wanted.url)
        self._timeout = float(timeout)
        headers = {"Accept": "application/vnd.pterodactyl.v1+json", "User-Agent": "fleet.power"}
        try:
            self._web = Web(wanted.url, f"Bearer {wanted.key}", headers=headers, trust=Trust(wanted.verify, wanted.ca_path))
        except WebFault as fault:
            raise SettingsInvalid(f"Cannot ask the Panel at {self.address}: {fault}; correct panel_url and panel_api_key") from None

    def close(self) -> None:
        self._web.close()

    def page(self, path: str, number: int, **params: str) -> Mapping[str, Any]:
        answer = self._asked(path, {"page": number, "per_page": _PER_PAGE, **params})
        if answer.status in (401, 403):
            raise SourceDenied(
                f"Cannot ask the Panel at {self.address} for {path}: it refuses panel_api_key ({_error_text(answer)}); "
                "it must be a key for the Application API that may read servers, nodes, nests and eggs"
            )
        if answer.status == 404:
            raise self.fault(path, "this path does not exist there; check panel_url", status=404)
        if not 200 <= answer.status < 300:
            raise self.fault(path, f"it answers {_error_text(answer)}")
        if not isinstance(answer.value, Mapping) or not isinstance(answer.value.get("data"), list):
            raise self.fault(path, "its answer is not a list in JSON; check panel_url")
        return answer.value

    def fault(self, path: str, reason: str, **facts: Any) -> SourceUnreachable:
        return SourceUnreachable(f"Cannot ask the Panel at {self.address} for {path}: {reason}", **facts)

    def _asked(self, path: str, params: Mapping[str, object]) -> Answer:
        pause, reason = _PAUSE, ""
        for tries in range(1, _TRIES + 1):
            wait = pause
            try:
                answer = self._web.ask("GET", f"{_BASE}{path}", params=params, seconds=self._timeout)
            except WebFault as fault:
                if fault.lasting:
                    raise self.fault(path, str(fault)) from fault
                reason = str(fault)
            else:
                if answer.status < 500 and answer.status != 429:
                    return answer
                reason, wait = f"it answers {_error_text(answer)}", _asked_pause(answer, pause)
            if tries < _TRIES:
                time.sleep(wait)
                pause *= _GROWTH
        raise self.fault(path, f"{reason} ({_TRIES} tries)")


def _asked_pause(answer: Answer, usual: float) -> float:
    asked = answer.headers.get("retry-after", "")
    return min(float(asked), _LONGEST_PAUSE) if re.fullmatch(r"[0-9]{1,6}", asked) else usual


def _error_text(answer: Answer) -> str:
    try:
        first = answer.value["errors"][0]
        words = text_or_none(first.get("detail")) or text_or_none(first.get("code"))
    except (TypeError, LookupError, AttributeError):
        words = None
    return f"HTTP {answer.status}, {words.rstrip('.')[:200]}" if words else f"HTTP {answer.status}"


def _last_page(api: _Api, page: Mapping[str, Any]) -> int:
    meta = page.get("meta")
    pagination = meta.get("pagination") if isinstance(meta, Mapping) else None
    last = read_whole(pagination.get("total_pages")) if isinstance(pagination, Mapping) else None
    if last is None or not 0 <= last <= _MOST_PAGES:
        raise api.fault("a list", f"it does not say how many pages it has, or more than {_MOST_PAGES}")
    return last


def _attributes(api: _Api, pages: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    objects = [each for page in pages for each in page["data"]]
    if not all(isinstance(each, Mapping) and isinstance(each.get("attributes"), Mapping) for each in objects):
        raise api.fault("a list", "its answer is no list of objects with attributes")
    return [each["attributes"] for each in objects]


def _all_pages(api: _Api, path: str, each: Callable[..., Iterable[Any]] = map, **params: str) -> list[Mapping[str, Any]]:
    """Return the objects of a list; ``each`` is `map`, or one that reads several pages at a time."""
    first = api.page(path, 1, **params)
    others = each(lambda number: api.page(path, number, **params), range(2, _last_page(api, first) + 1))
    return _attributes(api, [first, *others])


def _eggs(api: _Api) -> tuple[dict[int, Mapping[str, Any]], tuple[str, ...]]:
    """Return the eggs by number, and warnings: servers are complete without eggs."""
    try:
        try:
            return _numbered(_eggs_in_nests(api)), ()
        except SourceUnreachable as error:
            if error.facts.get("status") != 404:
                raise
        # Pelican has eggs without nests.
        return _numbered(_all_pages(api, "/eggs")), ()
    except (SourceUnreachable, SourceDenied) as error:
        return {}, (f"{error}; there are no egg groups",)


def _eggs_in_nests(api: _Api) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for nest in _all_pages(api, "/nests", include="eggs"):
        related = nest.get("relationships")
        eggs = related.get("eggs") if isinstance(related, Mapping) else None
        objects = eggs.get("data") if isinstance(eggs, Mapping) else None
        found += [each["attributes"] for each in objects or () if isinstance(each, Mapping) and isinstance(each.get("attributes"), Mapping)]
    return found


def _numbered(things: Iterable[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    return {number: thing for thing in things if (number := read_whole(thing.get("id"))) is not None}


def _addresses(nodes: Mapping[int, Mapping[str, Any]]) -> dict[str, str]:
    pairs = ((_node_name(number, node), text_or_none(node.get("fqdn"))) for number, node in nodes.items())
    return {name: address for name, address in pairs if address is not None and is_address(address)}


def _node_name(number: int, node: Mapping[str, Any]) -> str:
    return text_or_none(node.get("name")) or str(number)


def _entry(
    attributes: Mapping[str, Any], nodes: Mapping[int, Mapping[str, Any]], eggs: Mapping[int, Mapping[str, Any]]
) -> ServerEntry | None:
    given = attributes.get("uuid")
    uuid = parse_uuid(given) if isinstance(given, str) else None
    if uuid is None:
        return None
    number, container = read_whole(attributes.get("node")), attributes.get("container")
    egg = eggs.get(read_whole(attributes.get("egg")) or 0, {})
    return ServerEntry(
        uuid=uuid,
        node=None if number is None else _node_name(number, nodes.get(number, {})),
        name=text_or_none(attributes.get("name")),
        suspended=read_flag(attributes.get("suspended")),
        egg=text_or_none(egg.get("uuid")),
        egg_name=text_or_none(egg.get("name")),
        image=text_or_none(container.get("image")) if isinstance(container, Mapping) else None,
        panel_id=read_whole(attributes.get("id")),
        panel_status=text_or_none(attributes.get("status")),
    )
