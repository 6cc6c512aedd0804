# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readiness lines and their patterns."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine.readiness import Lines, Matchers, readable_lines, strip_ansi
from ansible_collections.fleet.power.plugins.module_utils._power.engine.ready_patterns import NotTried, ReadyPatterns
from ansible_collections.fleet.power.plugins.module_utils._power.host import sandbox
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import Deadline
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SYSTEM_CLOCK
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run
from ansible_collections.fleet.power.tests.unit.thread_support import block_until, in_threads
from hypothesis import given, settings
from hypothesis import strategies as st

LONGEST = 64 * 1024


def matches(done: str, line: bytes, *, strip: bool = False) -> bool:
    return Matchers([done], strip=strip).match([line])


class TestMatchers:
    @pytest.mark.parametrize("line", [b")! For help, type ", b'[12:00:00] Done (27.1s)! For help, type "help"'])
    def test_a_substring_is_found_anywhere_in_a_line(self, line: bytes) -> None:
        assert matches(")! For help, type ", line)

    def test_a_pattern_matches_characters_and_not_bytes(self) -> None:
        assert matches("regex:pr.t [éè]$", "serveur prêt é".encode())
        assert not matches("regex:^.{3}$", "éè".encode())

    @pytest.mark.parametrize("pattern", ["(", "a{99999999999999999999}", "(?au)x", "(" * 2000, "*", "[[:alpha:]]", "a" * 5000])
    def test_an_invalid_pattern_is_searched_as_text_with_a_warning(self, pattern: str) -> None:
        matchers = Matchers([f"regex:{pattern}"], strip=False)
        assert len(matchers.warnings) == 1
        assert "startup.done" in matchers.warnings[0]
        assert matchers.match([f"it says regex:{pattern} so".encode()])
        assert not matchers.match([b"x"])

    def test_the_syntax_of_re2_is_understood(self) -> None:
        assert matches(r"regex:(?<what>up)\z", b"it is up")
        assert not matches(r"regex:(?<what>up)\z", b"up and down")

    def test_a_slow_pattern_is_given_up_only_for_its_run_with_one_warning(self) -> None:
        entry, run, other = "regex:^(a|a)+$", Run("a", "now"), Run("b", "now")
        first, second = Matchers([entry, "sane"], strip=False), Matchers([entry], strip=False)
        began = time.monotonic()
        for _unused in range(2):
            assert not first.match([b"a" * 40 + b"b"], run)
        assert not second.match([b"a"], run)
        # The run has one second of processor time, at most ten seconds of the clock.
        assert time.monotonic() - began < 15
        for matchers in (first, second):
            (warning,) = matchers.warnings
            assert entry in warning and "takes too long" in warning
        assert first.match([b"sane"], run)
        another = Matchers([entry], strip=False)
        assert another.match([b"a"], other) and another.match_any(b"b\na\n", other)
        assert another.warnings == []

    def test_a_log_of_many_lines_is_searched_to_its_end(self) -> None:
        log = b"loading\n" * 400_000 + b"ready"
        assert Matchers(["regex:^ready$"], strip=False).match_any(log, budget=60)

    def test_output_outside_of_utf8_is_searched(self) -> None:
        assert matches("ready", b"\xff\xfe ready \x80")
        assert matches("regex:read.$", b"\xff\xfe ready")

    def test_escapes_are_stripped_only_if_the_definition_says_so(self) -> None:
        colourful = b"\x1b[32mrea\x1b[0mdy\x1b[K"
        assert matches("ready", colourful, strip=True)
        assert not matches("ready", colourful)

    def test_a_pattern_is_tried_on_the_first_characters_of_a_line_only(self) -> None:
        assert matches("regex:ready", b"a" * 4091 + b"ready")
        assert not matches("regex:ready", b"a" * 4092 + b"ready")
        assert matches("ready", b"a" * 60_000 + b"ready")

    def test_a_slow_pattern_does_not_hang_on_long_lines(self) -> None:
        matchers = Matchers(["regex:.*Done.*For help"], strip=False)
        began = time.monotonic()
        assert not matchers.match_any((b"a" * LONGEST + b"\n") * 100)
        assert time.monotonic() - began < 9
        assert matchers.match_any(b"a\nDone (3s)! For help\n")

    def test_the_time_to_search_a_log_is_limited(self) -> None:
        matchers = Matchers(["ready"], strip=False)
        assert matchers.match_any(b"one\nready")
        assert not matchers.match_any(b"one\nready", budget=0)

    @pytest.mark.parametrize("garbage", [b"\x1b" + b";" * LONGEST, b"\x1b;" * (LONGEST // 2), b"\x1b[" + b"1;" * (LONGEST // 2)])
    def test_an_endless_escape_is_stripped_within_seconds(self, garbage: bytes) -> None:
        began = time.monotonic()
        strip_ansi(garbage)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "escaped, plain",
    [
        (b"\x1b[1;31mred\x1b[0m", b"red"),
        (b"\x1b]0;title\x07text", b"text"),
        (b"\x1b[2J\x1b[Htop", b"top"),
        (b"nothing to strip [31m", b"nothing to strip [31m"),
    ],
)
def test_terminal_escapes_are_stripped(escaped: bytes, plain: bytes) -> None:
    assert strip_ansi(escaped) == plain


class TestLines:
    @settings(max_examples=100)
    @given(st.lists(st.binary(max_size=12) | st.sampled_from([b"\r\n", b"\n", b"\r", b"x" * LONGEST, b"y" * (LONGEST + 1)]), max_size=12))
    def test_lines_are_the_same_however_the_stream_is_cut(self, chunks: list[bytes]) -> None:
        whole, pieces = Lines(), Lines()
        expected = [*whole.feed(b"".join(chunks)), *whole.rest()]
        found = [line for chunk in chunks for line in pieces.feed(chunk)] + list(pieces.rest())
        assert found == expected
        assert max(map(len, found), default=0) <= LONGEST

    def test_a_line_over_the_limit_is_split(self) -> None:
        lines = Lines()
        assert [len(line) for line in lines.feed(b"x" * (2 * LONGEST + 5))] == [LONGEST, LONGEST]
        assert list(lines.feed(b"\n")) == [b"xxxxx"]


class TestReadableLines:
    @settings(max_examples=100)
    @given(st.binary(max_size=200), st.integers(1, 5), st.integers(0, 30))
    def test_output_of_a_server_becomes_few_short_printable_lines(self, log: bytes, count: int, limit: int) -> None:
        lines = readable_lines(log, count, limit)
        assert len(lines) <= count
        for line in lines:
            assert len(line.encode()) <= limit
            assert not any(ord(character) < 32 and character != "\t" for character in line)

    def test_secrets_are_masked_before_a_line_is_cut(self) -> None:
        assert readable_lines(b"password hunter22", 1, 13, ["hunter22"]) == ("password ****",)

    def test_a_secret_of_several_lines_is_masked_in_each(self) -> None:
        log = b"key: -----BEGIN-----\r\nMIIEvQIBADAN\r\n-----END-----\r\nfine\r\n"
        assert readable_lines(log, 9, 100, ["-----BEGIN-----\nMIIEvQIBADAN\n-----END-----"]) == (
            "key: ********",
            "********",
            "********",
            "fine",
        )

    def test_a_secret_with_escapes_inside_is_masked(self) -> None:
        assert readable_lines(b"pass hun\x1b[1mter22", 1, 100, ["hunter22"]) == ("pass ********",)

    def test_a_lone_surrogate_in_a_secret_hides_no_line(self) -> None:
        assert readable_lines(b"a line\nanother\n", 2, 100, {"secret\ud800", "another"}) == ("a line", "********")


POWER = "ansible_collections.fleet.power.plugins.module_utils._power.engine"
HOSTILE, TRIGGER = "(a+)+$", ["a" * 40 + "b"]
TENANT, OTHER = Run("a" * 64, "2026-03-01T12:00:00Z"), Run("b" * 64, "2026-03-01T12:00:00Z")
#: A pattern that is slow for each of these lines.
SLOW, LONG_LINES = ".*Done.*For help", ["a" * 4096] * 400


@pytest.fixture(name="patterns")
def patterns_of_a_test() -> Iterator[ReadyPatterns]:
    patterns = ReadyPatterns()
    yield patterns
    for seat in (patterns._seat, patterns._slow_seat):
        if seat.child is not None:
            seat.child.end()


def child_of(patterns: ReadyPatterns) -> int:
    assert patterns._seat.child is not None
    return patterns._seat.child._running.pid


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def run(script: str, ends: int = 0) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run([sys.executable, "-c", script], env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert child.returncode == ends, child.stderr
    return child.stdout


def test_a_hostile_pattern_is_given_up_after_a_second_of_cpu(patterns: ReadyPatterns) -> None:
    assert patterns.find("b$", TRIGGER)
    child, began = child_of(patterns), time.monotonic()
    with pytest.raises(NotTried, match="takes too long"):
        patterns.find(HOSTILE, TRIGGER, TENANT)
    # On a busy machine this takes ten seconds of the clock.
    assert time.monotonic() - began < 15
    assert gone(child)
    began = time.monotonic()
    with pytest.raises(NotTried, match="takes too long"):
        patterns.find(HOSTILE, ["a"], TENANT)
    assert time.monotonic() - began < 0.5
    assert patterns.find("b$", TRIGGER)


def test_a_hostile_pattern_does_not_stop_other_threads(patterns: ReadyPatterns) -> None:
    def hostile() -> None:
        with pytest.raises(NotTried):
            patterns.find(HOSTILE, TRIGGER)

    thread = threading.Thread(target=hostile)
    thread.start()
    pause, last = 0.0, time.monotonic()
    while thread.is_alive():
        time.sleep(0.01)
        pause, last = max(pause, time.monotonic() - last), time.monotonic()
    assert pause < 0.9


def test_all_threads_share_one_child_and_each_gets_its_own_answers(patterns: ReadyPatterns) -> None:
    wrong: list[int] = []

    def ask(number: int) -> None:
        for _unused in range(20):
            if not patterns.find(f"^x{number}$", ["y", f"x{number}"]) or patterns.find(f"^x{number}$", [f"x{number + 1}"]):
                wrong.append(number)

    assert patterns.find("a", ["a"])
    pid = child_of(patterns)
    in_threads(8, ask)
    assert wrong == []
    assert child_of(patterns) == pid


def test_the_answer_of_an_interrupted_question_is_not_used_for_the_next(patterns: ReadyPatterns, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not patterns.find("a", ["b"])
    with monkeypatch.context() as patched:
        patched.setattr(sandbox.select, "POLLIN", None)
        with pytest.raises(TypeError):
            patterns.find("a", ["a"])
    assert not patterns.find("a", ["b"])


def test_a_failed_start_of_the_child_is_reported_and_retried_later(patterns: ReadyPatterns, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/nowhere/python")
        with pytest.raises(NotTried, match="cannot be started"):
            patterns.find("a", ["a"])
    with pytest.raises(NotTried, match="cannot be started"):
        patterns.find("a", ["a"])
    patterns._seat._next_start = Deadline(SYSTEM_CLOCK, 0.0)
    assert patterns.find("a", ["a"])


def test_ctrl_c_of_a_terminal_does_not_reach_the_child(patterns: ReadyPatterns) -> None:
    patterns.find("a", ["a"])
    assert os.getsid(child_of(patterns)) != os.getsid(0)


ASKED = f"""
import os, threading, time
from {POWER}.ready_patterns import ready_patterns
ready_patterns.find("a", ["a"])
print(ready_patterns._seat.child._running.pid, flush=True)
"""


def test_the_child_ends_with_its_process() -> None:
    assert gone(int(run(ASKED)))


def test_the_child_ends_with_its_process_in_the_middle_of_a_question() -> None:
    question = f"threading.Thread(target=ready_patterns.find, args=({HOSTILE!r}, {TRIGGER!r}), daemon=True).start()\ntime.sleep(0.3)"
    assert gone(int(run(ASKED + question)))


def test_the_child_ends_after_a_kill_of_its_process() -> None:
    child = int(run(f"{ASKED}os.kill(os.getpid(), 9)", ends=-9))
    block_until(lambda: gone(child))
