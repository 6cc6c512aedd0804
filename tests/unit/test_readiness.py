# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readiness lines: found wherever a chunk ends, never for long, and log excerpts that a person may see."""

from __future__ import annotations

import time

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine.readiness import Lines, Matchers, readable_lines, strip_ansi
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run
from hypothesis import given, settings
from hypothesis import strategies as st

LONGEST = 64 * 1024


def matches(done: str, line: bytes, *, strip: bool = False) -> bool:
    return Matchers([done], strip=strip).match([line])


class TestMatchers:
    @pytest.mark.parametrize("line", [b")! For help, type ", b'[12:00:00] Done (27.1s)! For help, type "help"'])
    def test_a_substring_is_found_anywhere_in_a_line(self, line: bytes) -> None:
        assert matches(")! For help, type ", line)

    def test_a_pattern_speaks_of_characters_not_of_bytes(self) -> None:
        assert matches("regex:pr.t [éè]$", "serveur prêt é".encode())
        assert not matches("regex:^.{3}$", "éè".encode())

    @pytest.mark.parametrize("pattern", ["(", "a{99999999999999999999}", "(?au)x", "(" * 2000, "*", "[[:alpha:]]", "a" * 5000])
    def test_what_is_no_pattern_is_looked_for_as_text_with_a_warning(self, pattern: str) -> None:
        matchers = Matchers([f"regex:{pattern}"], strip=False)
        assert len(matchers.warnings) == 1
        assert "startup.done" in matchers.warnings[0]
        assert matchers.match([f"it says regex:{pattern} so".encode()])
        assert not matchers.match([b"x"])

    def test_what_re2_writes_in_another_way_is_understood(self) -> None:
        assert matches(r"regex:(?<what>up)\z", b"it is up")
        assert not matches(r"regex:(?<what>up)\z", b"up and down")

    def test_a_slow_pattern_is_given_up_for_its_run_alone_and_told_once(self) -> None:
        entry, run, other = "regex:^(a|a)+$", Run("a", "now"), Run("b", "now")
        first, second = Matchers([entry, "sane"], strip=False), Matchers([entry], strip=False)
        began = time.monotonic()
        for _unused in range(2):
            assert not first.match([b"a" * 40 + b"b"], run)
        assert not second.match([b"a"], run)
        # One second of processor time for the run, which is ten of the clock at most.
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

    def test_output_that_is_not_utf8_is_searched_all_the_same(self) -> None:
        assert matches("ready", b"\xff\xfe ready \x80")
        assert matches("regex:read.$", b"\xff\xfe ready")

    def test_escapes_are_stripped_only_where_the_definition_says_so(self) -> None:
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

    def test_the_time_to_search_a_log_is_bounded(self) -> None:
        matchers = Matchers(["ready"], strip=False)
        assert matchers.match_any(b"one\nready")
        assert not matchers.match_any(b"one\nready", budget=0)

    @pytest.mark.parametrize("garbage", [b"\x1b" + b";" * LONGEST, b"\x1b;" * (LONGEST // 2), b"\x1b[" + b"1;" * (LONGEST // 2)])
    def test_half_an_escape_without_end_does_not_hang(self, garbage: bytes) -> None:
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
    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.binary(max_size=12) | st.sampled_from([b"\r\n", b"\n", b"\r", b"x" * LONGEST, b"y" * (LONGEST + 1)]), max_size=12))
    def test_lines_are_the_same_however_the_stream_is_cut(self, chunks: list[bytes]) -> None:
        whole, pieces = Lines(), Lines()
        expected = [*whole.feed(b"".join(chunks)), *whole.rest()]
        found = [line for chunk in chunks for line in pieces.feed(chunk)] + list(pieces.rest())
        assert found == expected
        assert max(map(len, found), default=0) <= LONGEST

    def test_a_line_without_end_is_cut_and_goes_on_as_another(self) -> None:
        lines = Lines()
        assert [len(line) for line in lines.feed(b"x" * (2 * LONGEST + 5))] == [LONGEST, LONGEST]
        assert list(lines.feed(b"\n")) == [b"xxxxx"]


class TestReadableLines:
    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=200), st.integers(1, 5), st.integers(0, 30))
    def test_whatever_a_server_writes_is_few_short_printable_lines(self, log: bytes, count: int, limit: int) -> None:
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

    def test_a_secret_that_is_interrupted_by_escapes_is_masked(self) -> None:
        assert readable_lines(b"pass hun\x1b[1mter22", 1, 100, ["hunter22"]) == ("pass ********",)

    def test_half_a_character_in_a_secret_hides_no_line(self) -> None:
        assert readable_lines(b"a line\nanother\n", 2, 100, {"secret\ud800", "another"}) == ("a line", "********")
