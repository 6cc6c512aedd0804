# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile configuration files: each goes beyond a limit of a child, and harms neither this process nor another server."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.config_files import sandboxed_edit
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.rules import ConfigFault
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.sandboxed_edit import Editor, Results, editor
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import ConfigFile
from ansible_collections.fleet.power.plugins.module_utils._power.model.config_rule import LARGEST_FILE, ConfigRule
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import MissingLibrary
from ansible_collections.fleet.power.tests.unit.fake_node import FakeNode
from ansible_collections.fleet.power.tests.unit.thread_support import in_threads

JSON = ConfigFile("config.json", "json", (ConfigRule("a", 2),))
LINES_FILE = ConfigFile("a.properties", "properties", (ConfigRule("a", 2),))
SLOW = ConfigFile("slow.properties", "properties", (ConfigRule("a", "x", if_value="regex:(a+)+$"),))
SLOW_TEXT = b"a=" + b"a" * 40 + b"b\n"
TURNS = 2


@pytest.fixture(name="limits")
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandboxed_edit, "_LIMITS", sandboxed_edit._LIMITS._replace(seconds=1, memory=64))


@pytest.fixture(name="edits")
def edits_of_a_start() -> Iterator[Editor]:
    before = children()
    with editor({}, lambda: None) as edits:
        yield edits
    assert children() == before


def children() -> set[int]:
    """The ids of all child processes, zombies included."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(path.parent.name))
    return found


def test_files_of_a_start_share_one_child(edits: Editor) -> None:
    before = children()
    assert edits.edit(0, JSON, b'{"a": 1}') == b'{"a": 2}'
    (child,) = children() - before
    assert edits.edit(1, ConfigFile("a.yml", "yaml", (ConfigRule("a", 2),)), b"a: 1\n") == b"a: 2\n"
    assert children() - before == {child}


def test_small_files_that_are_read_by_lines_need_no_child_and_others_do(edits: Editor) -> None:
    before = children()
    assert edits.edit(0, LINES_FILE, b"a=1\n") == b"a=2\n"
    assert children() == before
    assert edits.edit(1, LINES_FILE, b"a=1\n" + b"#x\n" * 90_000).startswith(b"a=2\n#x\n")
    assert children() != before


def test_a_small_result_is_kept_for_the_same_entry_and_content_alone() -> None:
    results: Results = {}
    with editor(results, lambda: None) as edits:
        assert edits.edit(0, JSON, b'{"a": 1}') == b'{"a": 2}'
    before = children()
    with editor(results, lambda: None) as edits:
        assert edits.edit(0, JSON, b'{"a": 1}') == b'{"a": 2}'
        assert children() == before
        assert edits.edit(1, ConfigFile("b", "json", (ConfigRule("b", 3),)), b'{"a": 1}') == b'{"a": 1, "b": 3}'
        assert edits.edit(0, JSON, b'{"a": 5}') == b'{"a": 2}'
        assert children() != before


@pytest.mark.usefixtures("limits")
def test_a_file_beyond_the_processor_time_is_a_fault_and_the_next_file_is_edited(edits: Editor) -> None:
    with pytest.raises(ConfigFault, match="its edit takes more than the 1 s of processor time that are allowed"):
        edits.edit(0, SLOW, SLOW_TEXT)
    assert edits.edit(1, JSON, b'{"a": 1}') == b'{"a": 2}'


@pytest.mark.usefixtures("limits")
def test_a_file_beyond_the_memory_is_a_fault_and_the_next_file_is_edited(edits: Editor) -> None:
    many = b"[" + b"{}," * 190_000 + b"1]"
    with pytest.raises(ConfigFault, match="its edit needs more than the 64 MiB of memory that are allowed"):
        edits.edit(0, JSON, b'{"b": ' + many + b"}")
    assert edits.edit(1, JSON, b'{"a": 1}') == b'{"a": 2}'


LINES = 95_000


def lines_of_16_mib(line: bytes, count: int = LINES) -> bytes:
    width = LARGEST_FILE // count - len(line) - 3
    return b"".join(line.replace(b"#", b"%06d" % number) % (b"x" * width) for number in range(count))


@pytest.mark.samples("a comment")
@pytest.mark.parametrize(
    ("parser", "match", "content"),
    [
        pytest.param("json", "zz", lambda: b'{"a": 1,\n"b": 2 /*' + b"x" * (LARGEST_FILE - 100) + b"*/\n}", id="a comment"),
        pytest.param("json", "key000007", lambda: b"{" + lines_of_16_mib(b'"key#": "%s",\n') + b'"a": 1}', id="json"),
        pytest.param("yaml", "key000007", lambda: lines_of_16_mib(b"key#: %s\n"), id="yaml"),
        pytest.param("toml", "key000007", lambda: lines_of_16_mib(b'key# = "%s"\n'), id="toml"),
        pytest.param("xml", "r.new", lambda: b"<r>\n" + lines_of_16_mib(b'<e a="#">%s</e>\n', 90_000) + b"</r>\n", id="xml"),
        pytest.param("ini", "s.key000007", lambda: b"[s]\n" + lines_of_16_mib(b"key#=%s\n", 480_000), id="ini"),
        pytest.param("properties", "key000007", lambda: lines_of_16_mib(b"key#=%s\n", 480_000), id="properties"),
    ],
)
def test_an_ordinary_file_of_the_largest_size_is_edited_within_the_limits(
    edits: Editor, parser: str, match: str, content: Callable[[], bytes]
) -> None:
    before = content()
    assert LARGEST_FILE * 0.9 < len(before) < LARGEST_FILE
    after = edits.edit(0, ConfigFile("large", parser, (ConfigRule(match, "new"),)), before)
    assert after != before and b"new" in after


def test_the_processor_time_counts_for_each_file(edits: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandboxed_edit, "_LIMITS", sandboxed_edit._LIMITS._replace(seconds=1))
    # Each takes about a fifth of a second.
    for place in range(12):
        assert edits.edit(place, JSON, b'{"a": 1, "b": [' + b"1," * 40_000 + b"1]}").startswith(b'{"a": 2,')


@pytest.mark.parametrize("status", [signal.SIGKILL, signal.SIGSEGV])
def test_a_child_that_dies_is_a_fault(edits: Editor, status: signal.Signals) -> None:
    before = children()
    edits.edit(0, JSON, b'{"a": 1}')
    (child,) = children() - before
    os.kill(child, status)
    with pytest.raises(ConfigFault, match=f"its edit cannot be done: the process for it ended with status -{status.value}"):
        edits.edit(0, JSON, b'{"a": 3}')
    assert edits.edit(0, JSON, b'{"a": 3}') == b'{"a": 2}'


def test_a_child_that_answers_nothing_is_ended(edits: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandboxed_edit, "_LIMITS", sandboxed_edit._LIMITS._replace(patience=2.0))
    before = children()
    edits.edit(0, JSON, b'{"a": 1}')
    (child,) = children() - before
    os.kill(child, signal.SIGSTOP)
    with pytest.raises(ConfigFault, match="its edit takes too long on this busy machine"):
        edits.edit(0, JSON, b'{"a": 3}' + b" " * 1_000_000)
    assert children() == before


@pytest.mark.parametrize("path", ["/nowhere/python", "", None, "/bin/true", "/a\0b"])
def test_an_interpreter_that_cannot_be_started_is_a_fault_each_time(
    edits: Editor, monkeypatch: pytest.MonkeyPatch, path: str | None
) -> None:
    monkeypatch.setattr(sys, "executable", path)
    for _unused in range(2):
        with pytest.raises(ConfigFault, match="the interpreter that edits it cannot be started"):
            edits.edit(0, JSON, b"{}")


def test_a_fault_of_a_rule_names_it(edits: Editor) -> None:
    config = ConfigFile("config.json", "json", (ConfigRule("a", 2), ConfigRule("b", "x", if_value="regex:(")))
    with pytest.raises(ConfigFault, match="is not valid") as caught:
        edits.edit(0, config, b'{"a": 1, "b": "y"}')
    assert caught.value.rule is config.rules[1]


def test_a_missing_library_of_the_child_is_named(edits: Editor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "yaml.py").write_text("raise ImportError('gone')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingLibrary, match="cannot import PyYAML") as caught:
        edits.edit(0, ConfigFile("a.yml", "yaml", (ConfigRule("a", 2),)), b"a: 1\n")
    assert caught.value.facts["library"] == "PyYAML"


def test_a_fault_of_the_collection_ends_one_edit(edits: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = sandboxed_edit._PROGRAM.replace("rules = [", "edited = None; rules = [")
    monkeypatch.setattr(sandboxed_edit, "_PROGRAM", broken)
    with pytest.raises(ConfigFault, match="it cannot be edited: an error that should not happen, please report it: TypeError"):
        edits.edit(0, JSON, b"{}")


def test_only_a_few_children_run_at_a_time() -> None:
    before = children()

    def ask(place: int) -> int:
        with editor({}, lambda: None) as edits:
            edits.edit(place, JSON, b"{}")
            seen = len(children() - before)
            time.sleep(0.05)
            return seen

    assert max(in_threads(TURNS * 4, ask)) <= TURNS
    assert children() == before


def test_a_wait_for_a_turn_can_be_cancelled() -> None:
    def cancelled() -> None:
        raise InterruptedError

    with editor({}, lambda: None) as one, editor({}, lambda: None) as other, editor({}, cancelled) as third:
        for edits in (one, other):
            edits.await_turn(JSON, 0)
        with pytest.raises(InterruptedError):
            third.await_turn(JSON, 0)
        # It needs no turn.
        third.await_turn(LINES_FILE, 100)
        assert third.edit(0, LINES_FILE, b"a=1\n") == b"a=2\n"


@pytest.mark.usefixtures("limits")
def test_a_start_with_a_hostile_file_is_refused_with_its_name_and_the_limit(fake: FakeNode) -> None:
    fake.down()
    (fake.volume / "slow.properties").write_bytes(SLOW_TEXT)
    rules = [{"match": "a", "replace_with": "x", "if_value": "regex:(a+)+$"}]
    fake.define(process={"configs": [{"file": "slow.properties", "parser": "properties", "replace": rules}]})
    result = fake.perform("start")
    assert (result.outcome.value, result.code) == ("refused", "preboot_failed")
    assert "Cannot edit file slow.properties" in result.msg and "more than the 1 s of processor time" in result.msg
    assert (fake.volume / "slow.properties").read_bytes() == SLOW_TEXT


def test_a_start_edits_small_files_with_one_child(fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    sandbox = sandboxed_edit.Sandbox
    monkeypatch.setattr(sandboxed_edit, "Sandbox", lambda *given: made.append(sandbox(*given)) or made[-1])
    fake.down()
    (fake.volume / "config.json").write_bytes(b'{"a": 1}')
    fake.define(process={"configs": [{"file": "config.json", "parser": "json", "replace": [{"match": "a", "replace_with": 2}]}]})
    assert fake.perform("start").outcome.value == "done"
    assert (fake.volume / "config.json").read_bytes() == b'{"a": 2}'
    assert len(made) == 1
