# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of a Docker Engine. A pull runs in a thread, which is abandoned after a cancellation or without progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ..model.cancellation import Deadline
from ..model.clock import SYSTEM_CLOCK
from ..model.errors import ENGINE_FAULTS, EngineError, EngineUnreachable, ImageUnavailable
from ..model.schema import one_line
from ..model.server import ImageSeen
from .engine_answers import image_of
from .engine_calls import EngineCalls

#: Cache time of a found image: many servers of one call use the same one.
_IMAGE_SECONDS = 1.0
#: The longest time of a pull without progress.
SILENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.5
#: Words in an engine's message about a pull, and ours. The first counts.
_WHY = (
    ("no space left", "the engine's disk is full; free some space"),
    ("toomanyrequests", "the registry allows no more pulls for now; pull it later, or log in"),
    ("manifest unknown", "the registry has no such tag; correct settings.container.image"),
    ("not found", "the registry has no such image or tag; correct settings.container.image"),
    ("denied", "the registry has no such image, or refuses it without other credentials; correct the name, or docker.registries"),
    ("unauthorized", "the registry refuses the credentials; correct docker.registries"),
    ("no such host", "the registry's name is unknown; correct the name, or look at the DNS"),
    ("x509", "the registry's certificate is not trusted; correct it, or the engine's"),
    ("connection refused", "the registry does not answer; look at it and at the network"),
    ("timeout", "the registry does not answer in time; look at it and at the network"),
)


class DockerImages:
    """Finds and pulls the images of a node."""

    def __init__(self, calls: EngineCalls) -> None:
        self._calls = calls
        self._images: dict[str, tuple[float, ImageSeen]] = {}

    def find(self, reference: str) -> ImageSeen | None:
        """Return an image of the node, or None; at most a second old, but never older than a pull of ours."""
        images, asked_at = self._images, time.monotonic()
        known = images.get(reference)
        if known is not None and asked_at - known[0] < _IMAGE_SECONDS:
            return known[1]
        try:
            found = self.raw(reference)
        except EngineError as error:
            if error.facts.get("status") != 400:
                raise
            raise ImageUnavailable(f"{error}; correct settings.container.image") from error
        if found is None:
            return None
        seen = image_of(found)
        images[reference] = asked_at, seen
        return seen

    def raw(self, reference: str) -> Any:
        """Return the engine's own answer about an image, or None."""
        return self._calls.unless_missing(f"inspect image {reference}", lambda client: client.inspect_image(reference))

    def pull(self, reference: str, credentials: Mapping[str, str] | None, check_cancelled: Callable[[], None]) -> None:
        """Pull an image; call ``check_cancelled`` at least every second. Raises for an error in the progress stream too."""

        def lines() -> Iterator[Mapping[str, Any]]:
            try:
                # A pull may be silent for longer than other calls.
                with self._calls.asking(f"pull image {reference}", own_seconds=max(self._calls.timeout, SILENCE_SECONDS)) as client:
                    yield from client.pull(reference, stream=True, decode=True, auth_config=dict(credentials) if credentials else None)
            finally:
                # Replaced, not cleared: an earlier lookup may still store its answer in the old one.
                self._images = {}

        Pull(reference, lines).run(check_cancelled)


class Pull:
    """One pull. ``lines`` requests it and yields the engine's progress."""

    def __init__(self, reference: str, lines: Callable[[], Iterable[Mapping[str, Any]]]) -> None:
        self._failure = f"Cannot pull image {reference}"
        self._lines = lines
        self._fault: EngineError | EngineUnreachable | None = None
        self._silence = Deadline.after(SYSTEM_CLOCK, SILENCE_SECONDS)

    def run(self, check_cancelled: Callable[[], None]) -> None:
        """Pull, and wait for the end. Raises `ImageUnavailable`, `EngineUnreachable`, and what ``check_cancelled`` raises."""
        thread = threading.Thread(target=self._read, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            # Not in this thread: it could not check for cancellation, and a kill would wait for it.
            raise ImageUnavailable(f"{self._failure}: no thread can be started for it; this machine is at a limit") from error
        while thread.is_alive():
            thread.join(_LOOK_SECONDS)
            check_cancelled()
            if self._silence.is_over:
                raise EngineUnreachable(f"{self._failure}: no progress for {SILENCE_SECONDS:.0f} s")
        if isinstance(self._fault, EngineError):
            said = self._fault.reason
            why = next((words for begin, words in _WHY if begin in said.lower()), "the engine failed")
            raise ImageUnavailable(f"{self._failure}: {why} ({said})") from self._fault
        if self._fault is not None:
            raise self._fault

    def _read(self) -> None:
        try:
            for line in self._lines():
                self._silence = Deadline.after(SYSTEM_CLOCK, SILENCE_SECONDS)
                if line.get("error"):
                    self._failed(line["error"])
        except ENGINE_FAULTS as error:
            self._fault = error
        except (ValueError, RuntimeError) as error:
            # The SDK raises these for an unreadable progress stream.
            self._failed(error)

    def _failed(self, reason: object) -> None:
        self._fault = EngineError(f"{self._failure}: {one_line(str(reason))}")
