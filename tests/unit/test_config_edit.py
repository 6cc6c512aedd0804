# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration files of a boot: the trial before a stop, the edit after it, and the diff in the result."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.config_files import edit, parser_of
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.file_diff import file_diff
from ansible_collections.fleet.power.plugins.module_utils._power.model.config_rule import ConfigRule
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode

SECRET = "pa55: \"w\u00f6rd\" \\ & 'x'"
PROPERTIES = "server.properties"


def config(*rules: dict[str, Any], file: str = PROPERTIES, parser: str = "properties") -> dict[str, Any]:
    return {"file": file, "parser": parser, "replace": list(rules)}


def rule(match: str, value: object, **more: object) -> dict[str, Any]:
    return {"match": match, "replace_with": value, **more}


def has(fake: FakeNode, content: bytes, file: str = PROPERTIES) -> Path:
    path = fake.volume / file
    path.write_bytes(content)
    return path


def define(fake: FakeNode, *configs: dict[str, Any], **settings: Any) -> None:
    fake.define(process={"configs": list(configs)}, **settings)


@pytest.fixture(name="down")
def a_server_that_is_down(fake: FakeNode) -> FakeNode:
    fake.down()
    return fake


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (config(rule("rcon.password", "hunter2{{config.token}}")), "nothing is known of {{config.token}}"),
        (config(rule("rcon.password", "hunter2", if_value="regex:(")), "regular expression in if_value is not valid"),
        (config(rule("rcon.password", "hunter2\n[x]"), parser="ini"), "holds a line end"),
    ],
)
def test_a_faulty_rule_refuses_a_restart_and_the_message_shows_no_value(fake: FakeNode, entry: dict[str, Any], reason: str) -> None:
    fake.up()
    path = has(fake, b"password=old\nrcon.password=hunter1\n")
    if entry["parser"] == "ini":
        entry["replace"][0]["match"] = "password"
    define(fake, entry)
    result = fake.perform("restart")
    assert (result.outcome.value, result.code, result.changed, fake.live) == ("refused", "preboot_failed", False, True)
    assert fake.engine.changes() == []
    assert PROPERTIES in result.msg
    assert 'the rule for "' in result.msg
    assert "password" in result.msg
    assert reason in result.msg
    assert "hunter" not in result.msg + "".join(result.warnings)
    assert path.read_bytes() == b"password=old\nrcon.password=hunter1\n"


class TestLimits:
    def test_a_file_of_more_than_500000_lines_is_refused(self, down: FakeNode) -> None:
        has(down, b"\n" * 500_001)
        define(down, config(rule("a", 1)))
        assert "more than 500000 lines" in down.perform("start").msg

    def test_an_edit_beyond_the_size_limit_is_not_written(self, down: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(edit, "LARGEST_FILE", 10)
        path = has(down, b"a=1\n")
        define(down, config(rule("a", "1234567890")))
        assert "larger than 10 bytes" in down.perform("start").msg
        assert path.read_bytes() == b"a=1\n"

    def test_a_lone_surrogate_is_a_fault(self, down: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(edit, "parser_of", lambda _name: lambda _text, _rules: "\ud800")
        define(down, config(rule("a", 1)))
        assert down.perform("start").code == "preboot_failed"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_file_keeps_its_unicode_encoding(down: FakeNode, encoding: str) -> None:
    path = has(down, "\ufeff[S]\r\nName=\u00e4\r\n".encode(encoding), "Game.ini")
    define(down, config(rule("S.Name", "\u00f6"), rule("S.New", 1), file="Game.ini", parser="ini"))
    assert down.perform("start").outcome.value == "done"
    assert path.read_bytes() == "\ufeff[S]\r\nName=\u00f6\r\nNew=1\r\n".encode(encoding)


class TestDiff:
    def test_check_mode_shows_the_diff_and_writes_nothing(self, down: FakeNode) -> None:
        path = has(down, b"# mine\na=1\n")
        define(down, config(rule("a", 2)), config(rule("b", 1), file="new.properties"))
        result = down.perform("start", check=True, diff=True)
        assert [(diff.path, diff.before, diff.after) for diff in result.files] == [
            (PROPERTIES, "# mine\na=1\n", "# mine\na=2\n"),
            ("new.properties", "", "b=1\n"),
        ]
        assert path.read_bytes() == b"# mine\na=1\n"
        assert not (down.volume / "new.properties").exists()

    @pytest.mark.parametrize(
        ("parser", "match", "content"),
        [("properties", "key", b"\xc3\xa9=1\nkey=1\n"), ("properties", "key", b"key=1\n"), ("ini", "s.key", b"")],
    )
    def test_the_diff_masks_values_of_the_environment_in_each_spelling(
        self, down: FakeNode, parser: str, match: str, content: bytes
    ) -> None:
        has(down, content)
        define(down, config(rule(match, "<{{env.SECRET}}>"), parser=parser), environment={"SECRET": SECRET})
        (diff,) = down.perform("start", diff=True).files
        assert "key=<********>" in diff.after
        assert "pa55" not in diff.after + repr(diff)


class TestEntriesOfOneDefinition:
    @pytest.mark.parametrize(
        ("entries", "reason"),
        [
            ([config(rule("a", 1), file="conf"), config(rule("b", 1), file="conf/x.properties")], "creates a file where its path needs"),
            ([config(rule("b", 1), file="/conf/x.properties"), config(rule("a", 1), file="./conf")], "makes a directory of that name"),
            ([config(rule("a", 1), file="a.json"), config(rule("b", 1), file="c/../a.json", parser="json")], "a.json"),
            ([config(rule("a", 1), file=f"missing/{'n' * 256}/x.properties")], "longer than 255 bytes"),
            ([config(rule("a", 1), file=f"missing/{'n' * 256}")], "longer than 255 bytes"),
        ],
    )
    def test_an_impossible_edit_refuses_the_restart_of_a_running_server(
        self, fake: FakeNode, entries: list[dict[str, Any]], reason: str
    ) -> None:
        fake.up()
        define(fake, *entries)
        result = fake.perform("restart")
        assert (result.outcome.value, result.code, result.changed, fake.live) == ("refused", "preboot_failed", False, True)
        assert reason in result.msg
        assert fake.engine.changes() == []


FILE, OLD, NEW = "server.properties", b"# mine\nport=1\nmotd=kept\n", b"# mine\nport=25601\nmotd=kept\n"


def die_at(call: str, volume: Path, *, after: bool = False) -> None:
    """Send SIGKILL to this process at its first ``call`` of `os` while ``volume`` holds a second file."""
    original = getattr(os, call)

    def last(*arguments: Any, **named: Any) -> Any:
        if len(os.listdir(volume)) > 1:
            if after:
                original(*arguments, **named)
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    setattr(os, call, last)


def boot_killed_at(fake: FakeNode, call: str, *, after: bool = False) -> None:
    """Start the server in a child process that is killed at ``call``."""
    child = os.fork()
    if child == 0:
        try:
            # The child opens its own journal: a database connection does not survive a fork.
            fake.node = fake.build()
            die_at(call, fake.root / "volumes" / UUID, after=after)
            fake.perform("start")
        finally:
            os._exit(1)
    _pid, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, "the boot was not killed"


@pytest.fixture(name="volume")
def volume_of_a_server_that_is_down(fake: FakeNode) -> Path:
    fake.down()
    volume = fake.root / "volumes" / UUID
    (volume / FILE).write_bytes(OLD)
    fake.define(process={"configs": [{"file": FILE, "parser": "properties", "replace": [{"match": "port", "replace_with": 25601}]}]})
    return volume


@pytest.mark.parametrize("call", ["fchmod", "fsync", "rename"])
def test_a_boot_killed_before_the_rename_leaves_the_old_file_whole(fake: FakeNode, volume: Path, call: str) -> None:
    mode = (volume / FILE).stat().st_mode
    boot_killed_at(fake, call)
    assert (volume / FILE).read_bytes() == OLD
    result = fake.perform("start", diff=True)
    assert (result.outcome.value, [diff.path for diff in result.files]) == ("done", [FILE])
    assert ((volume / FILE).read_bytes(), (volume / FILE).stat().st_mode) == (NEW, mode)
    assert os.listdir(volume) == [FILE]


def test_a_boot_killed_after_the_rename_leaves_the_new_file_whole(fake: FakeNode, volume: Path) -> None:
    boot_killed_at(fake, "rename", after=True)
    assert (volume / FILE).read_bytes() == NEW
    number = (volume / FILE).stat().st_ino
    result = fake.perform("start", diff=True)
    assert (result.outcome.value, result.files, (volume / FILE).stat().st_ino) == ("done", (), number)
    assert os.listdir(volume) == [FILE]


FILES = (
    ("yaml", 'k: "old"\n'),
    ("yaml", "k: old\n"),
    ("properties", "k=old\n"),
    ("properties", "j=\u00e9\nk=old\n"),
    ("properties", "k old\n"),
    ("toml", 'k = "old"\n'),
    ("json", '{"k": "old"}\n'),
)
SECRETS = (
    "hunter\x07two",
    "hunter\x1btwo",
    "hunter\x7ftwo",
    "hunter\x85two\u2028\u00e9",
    "hunter\U000e0001two",
    "hunter\ttwo\\\"'",
    "=hunter\btwo:#!",
)


@pytest.mark.parametrize("secret", SECRETS, ids=ascii)
@pytest.mark.parametrize("parser, before", FILES)
def test_a_secret_with_odd_characters_is_masked_in_each_parsers_spelling(parser: str, before: str, secret: str) -> None:
    after = parser_of(parser)(before, [ConfigRule("k", secret)])
    assert "two" in after
    shown = file_diff("f", before.encode(), after.encode(), [secret])
    assert shown.before == before
    assert "hunter" not in shown.after
    assert "two" not in shown.after


def test_the_diff_escapes_control_characters_and_keeps_line_ends() -> None:
    before = "motd=\x1b[2J\x1b]0;title\x07\x9b31m\u202egnp\u2066.\u200bexe\n\tk=\u0434\U0001f3ae\\\r\nover\rwritten\nnext\x0bline\u2028\x85"
    shown = file_diff("a\x1b[2J\nb", before.encode(), b"\xff\r", ())
    assert shown.path == "a\\x1b[2J\\nb"
    assert shown.before == (
        "motd=\\x1b[2J\\x1b]0;title\\x07\\x9b31m\\u202egnp\\u2066.\\u200bexe\n"
        "\tk=\u0434\U0001f3ae\\\r\nover\\rwritten\nnext\\x0bline\\u2028\\x85"
    )
    assert shown.after == "\ufffd\\r"


def test_secrets_are_masked_before_control_characters_are_escaped() -> None:
    assert file_diff("f", b"k=hunter\x1btwo\x1b\n", b"", ["hunter\x1btwo"]).before == "k=********\\x1b\n"
