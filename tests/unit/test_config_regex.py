# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Regular expressions of rules: as RE2 would have them, and nobody's time wasted by a hostile one."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.config_files import rules
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.rules import ConfigFault, one_child, substitute
from ansible_collections.fleet.power.plugins.module_utils._power.host import regex_sandbox

PLACES = max(2, os.cpu_count() or 1)
HOSTILE = ("(a+)+$", "a" * 40 + "b", "x")


def children() -> set[int]:
    """The processes that this one has started and not yet taken leave of, dead ones included."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(path.parent.name))
    return found


@pytest.mark.parametrize(
    ("pattern", "text", "template", "expected"),
    [
        (r"^(?:127\.0\.0\.1|localhost)(:[0-9]+)?$", "localhost:80", "10.0.0.1$1", "10.0.0.1:80"),
        (r"^(?:127\.0\.0\.1|localhost)(:[0-9]+)?$", "db.localhost", "10.0.0.1$1", None),
        ("(?P<n>a)(?<m>b)", "ab", "${m}${n}", "ba"),
        ("(a)", "a", "$1x", ""),
        ("(a)", "a", "${1}x $2 $$1 $ ${", "ax  $1 $ ${"),
        ("a*", "baac", "x", "xbxcx"),
        ("a$", "a\n", "x", None),
        ("(?m)a$", "a\nb", "x", "x\nb"),
        (r"[$]\$", "$$", "x", "x"),
        (r"\d", "\u0663", "x", None),
        (".", "\udce9\u00e9", "<$0>", "<\udce9><\u00e9>"),
        ("", "", "x", "x"),
    ],
)
def test_matches_are_replaced_as_in_go(pattern: str, text: str, template: str, expected: str | None) -> None:
    assert substitute(pattern, text, template) == expected


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", r"\p{L}", "[[:alpha:]]", "(" * 3000, "a" * 5000, "(?z)"])
def test_a_pattern_that_is_none_is_a_fault(pattern: str) -> None:
    with pytest.raises(ConfigFault, match="regular expression in if_value"):
        substitute(pattern, "a", "x")


def test_a_hostile_pattern_ends_after_a_second_of_cpu_and_leaves_no_process() -> None:
    before, began = children(), time.monotonic()
    with pytest.raises(ConfigFault, match="takes too long"):
        substitute(*HOSTILE)
    assert time.monotonic() - began < 9
    assert children() == before


def test_the_patterns_of_one_file_have_one_child_and_one_second_together() -> None:
    before = children()
    with one_child():
        assert substitute("a", "a", "b") == "b"
        (child,) = children() - before
        assert substitute("b", "b", "c") == "c"
        assert children() - before == {child}
        with one_child():
            assert substitute("c", "c", "d") == "d"
        assert children() - before == {child}
        with pytest.raises(ConfigFault, match="takes too long"):
            substitute(*HOSTILE)
        began = time.monotonic()
        with pytest.raises(ConfigFault, match="together take too long"):
            substitute("a", "a", "b")
        assert time.monotonic() - began < 0.5
    assert children() == before


def test_a_result_that_grows_beyond_measure_is_a_fault() -> None:
    with pytest.raises(ConfigFault, match="larger than 16 MiB"):
        substitute("a+", "a" * 100_000, "$0" * 200)


@pytest.mark.parametrize("path", ["/nowhere/python", "", None, "/bin/true", "/a\0b"])
def test_an_interpreter_that_cannot_be_started_is_a_fault_each_time(monkeypatch: pytest.MonkeyPatch, path: str | None) -> None:
    monkeypatch.setattr(sys, "executable", path)
    for _unused in range(PLACES + 1):
        with pytest.raises(ConfigFault, match="cannot be started"):
            substitute("a", "a", "b")


def test_a_child_that_reads_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_CHILD", "import time; print(flush=True); time.sleep(60)")
    monkeypatch.setattr(regex_sandbox, "_ANSWER_SECONDS", 0.2)
    before, began = children(), time.monotonic()
    with pytest.raises(ConfigFault, match="takes too long"):
        substitute("a", "a" * 4_000_000, "b")
    assert time.monotonic() - began < 5
    assert children() == before


def test_a_child_has_a_quarter_of_a_gibibyte(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = "print(json.dumps(['text', str(resource.getrlimit(resource.RLIMIT_AS)[0])]), flush=True)"
    monkeypatch.setattr(rules, "_CHILD", rules._CHILD.replace("for line", f"sys.stdin.readline(); {answer}\nfor line"))
    assert substitute("a", "a", "b") == str(256 * 1024 * 1024)


def test_many_threads_share_few_places() -> None:
    before, seen, done = children(), [], []

    def ask() -> None:
        with one_child():
            done.append(substitute("a", "a", "b"))
            seen.append(len(children() - before))
            time.sleep(0.05)

    threads = [threading.Thread(target=ask) for _unused in range(PLACES * 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == ["b"] * PLACES * 4
    assert max(seen) <= PLACES
    assert children() == before


def test_a_child_that_dies_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_CHILD", "import sys; print(flush=True); sys.exit(3)")
    with pytest.raises(ConfigFault):
        substitute("a", "a" * 1_000_000, "b")
