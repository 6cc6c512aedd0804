# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pull of an image, in a thread that is abandoned when nobody wants it any more or the engine shows no progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..model.errors import EngineError, EngineUnreachable, ImageUnavailable
from ..model.schema import one_line

#: How long a pull may go without any progress.
SILENCE_SECONDS = 60.0
#: The pause between two looks at it.
_LOOK_SECONDS = 0.5


class Pull:
    """One pull. ``lines`` asks for it and yields the engine's progress, line by line."""

    def __init__(self, reference: str, lines: Callable[[], Iterable[Mapping[str, Any]]]) -> None:
        self._failure = f"Cannot pull image {reference}"
        self._lines = lines
        self._fault: EngineError | EngineUnreachable | None = None
        self._seen_at = time.monotonic()

    def run(self, check_cancelled: Callable[[], None]) -> None:
        """Pull, and wait for the end. Raises `ImageUnavailable`, `EngineUnreachable`, and what ``check_cancelled`` raises."""
        thread = threading.Thread(target=self._read, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            # Not in this one: it could not look up, and a kill would wait for it.
            raise ImageUnavailable(f"{self._failure}: no thread can be started for it; this machine is at a limit") from error
        while thread.is_alive():
            thread.join(_LOOK_SECONDS)
            check_cancelled()
            if time.monotonic() - self._seen_at > SILENCE_SECONDS:
                raise EngineUnreachable(f"{self._failure}: no progress for {SILENCE_SECONDS:.0f} s")
        if isinstance(self._fault, EngineError):
            raise ImageUnavailable(str(self._fault)) from self._fault
        if self._fault is not None:
            raise self._fault

    def _read(self) -> None:
        try:
            for line in self._lines():
                self._seen_at = time.monotonic()
                if line.get("error"):
                    self._failed(line["error"])
        except (EngineError, EngineUnreachable) as error:
            self._fault = error
        except (ValueError, RuntimeError) as error:
            # What the SDK makes of a progress stream that it cannot read.
            self._failed(error)

    def _failed(self, reason: object) -> None:
        self._fault = EngineError(f"{self._failure}: {one_line(str(reason))}")
