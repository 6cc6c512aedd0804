# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits for news of a job (``_job.py``) and prints them as one line of JSON. Each job keeps a copy of this file, which runs alone.

Arguments: the job's directory, the known bytes of ``lines``, the seconds to gather after the first news, and the longest wait. The process
keeps ``asked`` fresh, and dates it back when the reader of the answer is gone.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import sys
import time

_LOOK_SECONDS = 0.1
#: The limit of one answer, in bytes; whole lines.
_MOST = 1 << 18
_URGENT = (b'"outcome":"failed"', b'"outcome":"refused"', b'"outcome":"cancelled"')
_URGENT_SECONDS = 0.3
_STDOUT = 1
#: An age that shows readers that polling has ended: longer than a job waits before it holds.
GONE_SECONDS = 60.0


class Watched:
    """The files of a job, for a process that polls it."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def is_live(self) -> bool:
        """Tell if the job runs: its process locks this file."""
        with open(self._file("alive"), "rb") as alive:
            try:
                fcntl.flock(alive, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def news(self, offset: int) -> bytes:
        """Return the whole lines from an offset on."""
        with open(self._file("lines"), "rb") as lines:
            lines.seek(offset)
            found = lines.read(_MOST)
        return found[: found.rfind(b"\n") + 1]

    def result(self) -> str | None:
        """Return the output of an ended job; None if it is large or comes with errors."""
        try:
            with open(self._file("out"), "rb") as out, open(self._file("err"), "rb") as err, open(self._file("rc"), "rb"):
                printed = out.read(_MOST)
                plain = len(printed) < _MOST and not err.read(1)
        except OSError:
            return None
        return printed.decode("utf-8", "replace") if plain else None

    def touch(self, ago: float = 0.0) -> None:
        """Record a poll ``ago`` seconds back, by the monotonic clock, which cannot be set."""
        moment = max(0.0, time.monotonic() - ago)
        os.utime(self._file("asked"), (moment, moment))

    def _file(self, name: str) -> str:
        return os.path.join(self._directory, name)


def wait(job: Watched, offset: int, gather: float, patience: float) -> tuple[bytes, bool]:
    """Return the news since ``offset``, and if the job still runs. Raises BrokenPipeError if the reader is gone."""
    reader = select.poll()
    reader.register(_STDOUT, 0)
    began, first = time.monotonic(), float("inf")
    while True:
        job.touch()
        # Look before the lines are read, so that the last line is not lost.
        live = job.is_live()
        news, now = job.news(offset), time.monotonic()
        if news:
            first = min(first, now)
        if not live or now - began >= patience or now - first >= (_URGENT_SECONDS if any(word in news for word in _URGENT) else gather):
            return news, live or len(news) >= _MOST // 2
        if any(event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _descriptor, event in reader.poll(0)):
            raise BrokenPipeError
        time.sleep(_LOOK_SECONDS)


def _end(_number: int, _frame: object) -> None:
    raise BrokenPipeError


def main(arguments: list[str]) -> int:
    job, offset = Watched(arguments[0]), int(arguments[1])
    for ending in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, _end)
    try:
        news, live = wait(job, offset, float(arguments[2]), float(arguments[3]))
        lines = news.decode("utf-8", "replace").splitlines()
        answer = {
            "fleet_lines": lines,
            "fleet_offset": offset + len(news),
            "fleet_live": live,
            "fleet_result": None if live else job.result(),
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Ctrl-C or a closed connection: polling has ended.
        job.touch(GONE_SECONDS)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
