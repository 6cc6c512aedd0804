# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of the Docker Engine and of its API, and their known faults; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..model.records import dataclass

OLDEST_RELEASE, OLDEST_API = "20.10", "1.41"
#: The newest version of the API that was tested. The SDK would speak the engine's newest one, without a bound.
NEWEST_TESTED = "1.51"
#: First and last release, and the mended one, of those that end the grace period of a stop when its client hangs up.
_HASTY_STOPS = (("23.0.0", "23.0.6", "23.0.7"), ("24.0.0", "24.0.2", "24.0.3"))
_API = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}")
_RELEASE = re.compile(r"Docker/([0-9]{1,4}(?:\.[0-9]{1,4}){1,2})")


@dataclass(frozen=True)
class EngineVersion:
    """``release`` is such as 28.5.2, empty if unknown; ``newest`` is the engine's newest API, ``spoken`` the one of our requests."""

    release: str
    newest: str
    spoken: str

    @property
    def called(self) -> str:
        return f"Docker {self.release or '(its release is unknown)'}"

    def warnings(self) -> Iterator[str]:
        """Yield a sentence for each fault of this engine that an operator should know."""
        if numbers(self.spoken) > numbers(NEWEST_TESTED):
            yield f"{self.called} is asked by API {self.spoken}, but {NEWEST_TESTED} is the newest that was tested; use it with care"
        for first, last, mended in _HASTY_STOPS:
            if self.release and numbers(first) <= numbers(self.release) <= numbers(last):
                yield f"{self.called} sends SIGKILL at once if the client of a docker stop hangs up; upgrade it to {mended} or newer"


def is_api(text: object) -> bool:
    return isinstance(text, str) and _API.fullmatch(text) is not None


def release_in(server: str) -> str:
    """Return the release in the header ``Server`` of an answer, such as ``Docker/28.5.2 (linux)``; empty if it has none."""
    found = _RELEASE.match(server)
    return found[1] if found else ""


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


def spoken_api(newest: str, oldest: str) -> str:
    """Return the version for requests. ``oldest`` is the engine's oldest one, if it refuses the newest tested one."""
    return oldest if is_api(oldest) else min(newest, NEWEST_TESTED, key=numbers)


def fault_of_api(newest: str) -> str:
    """Return why an engine with this newest version cannot be used; empty for a good one."""
    if not is_api(newest):
        return "it does not tell the version of its API; look for a proxy in between"
    if numbers(newest) < numbers(OLDEST_API):
        return f"it speaks API {newest}, and Docker {OLDEST_RELEASE} (API {OLDEST_API}) is the oldest supported; upgrade the engine"
    return ""
