# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call over the servers of an HTTP endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .announce import announce
from .connection import DEFAULT_TIMEOUT
from .endpoint import Endpoint
from .endpoint_facts import describe_at, identify_at
from .endpoint_perform import check_options, perform_at
from .model import Request, Result
from .node import SystemClock
from .pace import Place
from .perform import UNTOLD
from .selection import Target, all_of, means_all, named
from .settings import Settings


def at_endpoint(url: str, options: Mapping[str, Any], settings: Settings, interrupted: Callable[[], bool]) -> AtEndpoint:
    """The call at the endpoint ``url``. Raises `SettingsInvalid`, and `UnsupportedByEndpoint` for an option that none can honour."""
    check_options(options)
    timeout = options.get("timeout")
    endpoint = Endpoint(
        url,
        # Wings' own token is the one that its endpoint asks for.
        options.get("api_token") or settings.endpoint_token or settings.token,
        verify=options.get("validate_certs") is not False,
        ca_path=options.get("ca_path"),
        timeout=float(DEFAULT_TIMEOUT if timeout is None else timeout),
    )
    return AtEndpoint(endpoint, settings, interrupted)


class AtEndpoint:
    """The HTTP endpoint of whatever runs the servers. See `call.Call`."""

    def __init__(self, endpoint: Endpoint, settings: Settings, interrupted: Callable[[], bool]) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._interrupted = interrupted
        self._clock = SystemClock()

    def targets(self, names: Sequence[str], asked: Request) -> list[Target]:
        asked = replace(asked, requested_at=self._clock.now())
        if means_all(names):
            return all_of(asked, self._endpoint.servers())
        return named(asked, names, lambda name: identify_at(name, self._endpoint))

    def act(self, target: Target, place: Place) -> Result:
        result = perform_at(target.request, self._endpoint, self._clock, self._interrupted, target.server, place)
        if not target.request.check and result.code not in UNTOLD:
            announce(result, target.request)
        return result

    def describe(self, names: Sequence[str], *, tail: int, check: bool) -> tuple[list[dict[str, Any]], list[str]]:
        return describe_at(() if means_all(names) else names, self._endpoint)

    def warnings(self) -> list[str]:
        return [*self._settings.warnings, *self._endpoint.warnings]

    def close(self) -> None:
        self._endpoint.close()
