# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to the Panel for a node: one definition, or one page of its list of servers, within a time limit.

It uses the Panel's API as Wings does: the node's own token, and back-off after no answer, a redirect or a server error.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..definitions.settings import Settings
from ..model.cancellation import CheckCancelled, Deadline
from ..model.clock import Clock
from ..model.errors import SettingsInvalid, SourceDenied, SourceUnreachable
from ..model.redaction import shown_address
from ..model.schema import blanked
from .web import Answer, Web, WebFault

_BASE = "/api/remote"
_DENIED = (400, 401, 403)
#: Wings' pauses in seconds: the first, the growth, the longest; each varies by half.
_FIRST_PAUSE, _GROWTH, _LONGEST_PAUSE = 0.5, 1.5, 12.0
_NAP = 0.25
#: A later try with less time left than this explains nothing if it times out.
_TELLING_SECONDS = 1.0
_LONGEST_DETAIL = 200


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
            f"Cannot fetch {what} from the Panel at {self.address}: {reason}; is it up, and is remote in the settings right"
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
            Deadline.after(self._clock, pause).wait_out(check_cancelled, every=_NAP)

    def _once(self, path: str, params: Mapping[str, object] | None, seconds: float, check_cancelled: CheckCancelled) -> Answer:
        """Make one try. `_get` catches only errors that a retry may fix."""
        answer = self._web.ask("GET", f"{_BASE}{path}", params=params, seconds=seconds, check_cancelled=check_cancelled)
        if answer.status in _DENIED:
            raise SourceDenied(
                f"Cannot use the Panel at {self.address}: it refuses this node's token ({_told(answer)}); "
                "check the settings token_id and token, and that this node exists there"
            )
        if answer.status >= 500 or 300 <= answer.status < 400:
            raise PanelUnavailable(f"it answers {_told(answer)}")
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
        raise PanelUnavailable(f"it answers {_told(answer)}")
    if answer.value is None:
        raise PanelUnavailable("its answer is not JSON")
    return answer


def _told(answer: Answer) -> str:
    """Return the Panel's error text: only the first of several, as Wings does."""
    try:
        first = answer.value["errors"][0]
        words = ": ".join(str(first[key]) for key in ("code", "detail") if first.get(key))
    except (TypeError, LookupError, AttributeError):
        words = ""
    words = blanked(words)[:_LONGEST_DETAIL]
    return f"HTTP {answer.status}, {words}" if words else f"HTTP {answer.status}"
