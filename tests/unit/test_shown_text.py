# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text in results and logs is safe for a terminal and holds no secret."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.server_facts import FactOptions, describe
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineError
from ansible_collections.fleet.power.plugins.module_utils._power.model.redaction import mask
from ansible_collections.fleet.power.plugins.module_utils._power.model.report import (
    Detail,
    diff,
    entries,
    failure_message,
    is_failure,
    summary,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.schema import one_line
from ansible_collections.fleet.power.tests.unit.fake_node import NO_GROUP, FakeNode
from hypothesis import given
from hypothesis import strategies as st

#: Clears the screen, by two introducers; turns the direction of what follows; overwrites the line; rings.
EVIL = "a\x1b[2J\x9b31m\u202eb\rc\x07\u2028"
EVIL_BLANKED = "a [2J 31m b c  "
FILE = "settings.txt"
EDIT = {"file": FILE, "parser": "file", "replace": [{"match": "a", "replace_with": "b"}]}
DEFINITIONS: dict[str, dict[str, Any]] = {
    "a file that changes": {"process": {"configs": [EDIT]}},
    "the name of a file": {"process": {"configs": [{**EDIT, "file": EVIL, "parser": "properties"}]}},
    "a parser": {"process": {"configs": [{**EDIT, "file": EVIL, "parser": EVIL}]}},
    "a rule": {"process": {"configs": [{**EDIT, "parser": "yaml", "replace": [{"match": EVIL, "replace_with": EVIL}]}]}},
    "a placeholder": {"process": {"configs": [{**EDIT, "replace": [{"match": "a", "replace_with": f"{{{{env.{EVIL}}}}}"}]}]}},
    "a stop": {"process": {"stop": {"type": EVIL, "value": EVIL}}},
    "a readiness line": {"process": {"startup": {"done": [EVIL, f"regex:({EVIL}"]}}},
    "a command": {"invocation": f"{EVIL} {{{{{EVIL}}}}}"},
    "a variable": {"environment": {EVIL: EVIL, "B": EVIL}},
    "an image": {"container": {"image": EVIL}},
    "a name": {"meta": {"name": EVIL, "game": EVIL}, "egg": {"id": EVIL}, "labels": {EVIL: EVIL}},
    "a mount": {"mounts": [{"source": f"/{EVIL}", "target": f"/{EVIL}"}]},
    "an allocation": {"allocations": {"mappings": {EVIL: [1]}, "default": {"ip": EVIL, "port": 1}}},
    "a limit": {"build": {"memory_limit": EVIL, "threads": EVIL}},
    "a key that is not known": {EVIL: EVIL},
}


def texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from (*texts(name), *texts(each))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from texts(each)


def acted_on(value: object) -> list[str]:
    """The texts of a value that a terminal would act on. Those of a diff have several lines."""
    return [text for text in texts(value) if not text.replace("\r\n", "").replace("\n", "").replace("\t", "").isprintable()]


def shown(result: Result) -> list[object]:
    told = entries([result], check=True, all_steps=True, detail=Detail.WHOLE, timed=True)
    failure = [failure_message([result])] if is_failure(result) else []
    return [told, diff([result]), summary([result, result]), result.warnings, failure]


@pytest.mark.parametrize("given", DEFINITIONS.values(), ids=DEFINITIONS)
@pytest.mark.parametrize("action", ["start", "restart"])
def test_nothing_in_the_result_of_an_action_is_acted_on(fake: FakeNode, given: dict[str, Any], action: str) -> None:
    if action == "start":
        fake.down()
    else:
        fake.up()
    (fake.volume / FILE).write_bytes(f"a: {EVIL}\n".encode() + b"\xff\x9b\n")
    fake.define(**given)
    for check in (True, False):
        result = fake.perform(action, check=check, diff=True, reason=EVIL, origin=EVIL)
        assert acted_on(shown(result)) == []


def test_nothing_in_what_is_told_of_a_server_is_acted_on(fake: FakeNode) -> None:
    fake.define(**DEFINITIONS["a name"])
    fake.up()
    fake.engine.logs[fake.seen().id] = f"{EVIL}\nlast\n".encode()
    fake.perform("restart", reason=EVIL, origin=EVIL, once=EVIL)
    fake.engine.logs[fake.seen().id] = f"{EVIL}\nlast\n".encode()
    settings = fake.node.settings
    with fake.lock("restart"):
        journal = Journal(settings.state_directory, settings.lock_directory, NO_GROUP, fake.clock, read_only=True)
        told = describe((), replace(fake.build(), journal=journal), FactOptions(10, 10), remember=lambda *_unused: None)
        journal.close()
        busy = fake.perform("stop", wait_seconds=0, reason=EVIL, origin=EVIL)
    (entry,) = told.entries
    assert (entry["operations"][0]["origin"], entry["log"][-1], len(entry["log"]), busy.outcome.value) == (
        EVIL_BLANKED,
        "last",
        2,
        "refused",
    )
    assert acted_on([entry, told.warnings, shown(busy)]) == []


@pytest.mark.parametrize(
    ("text", "secrets", "masked"),
    [
        ("token=hunter22!", ["hunter22"], "token=********!"),
        ("no secret", ["hunter22"], "no secret"),
        ("hunter22hunter22", ["hunter22"], "****************"),
        ("hunter22-long", ["hunter22", "hunter22-long"], "********"),
        ("abcdefgh", ["abcdef", "cdefgh"], "********"),
        ("a.c abc", ["a.c"], "******** abc"),
        ("text", ["", "absent"], "text"),
    ],
)
def test_each_stretch_of_secrets_is_masked(text: str, secrets: list[str], masked: str) -> None:
    assert mask(text, secrets) == masked


@given(st.text("ab*", max_size=30), st.sets(st.text("ab", min_size=6, max_size=8), max_size=4))
def test_no_secret_survives(text: str, secrets: set[str]) -> None:
    masked = mask(text, secrets)
    assert not any(secret in masked for secret in secrets)
    assert mask(text, sorted(secrets)) == masked


@given(text=st.text("ab", max_size=60), secrets=st.lists(st.text("ab", min_size=1, max_size=9), max_size=3))
def test_mask_covers_what_a_look_at_every_place_would(text: str, secrets: list[str]) -> None:
    found = sorted((at, at + len(secret)) for secret in secrets for at in range(len(text)) if text.startswith(secret, at))
    merged: list[tuple[int, int]] = []
    for start, end in found:
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    expected = text
    for start, end in reversed(merged):
        expected = expected[:start] + "*" * 8 + expected[end:]
    assert mask(text, secrets) == expected


@pytest.mark.parametrize("foul", ["\n", "\0", "\x1b", "\x9b", "\u2028", "\u202e", "\ud800"])
def test_nothing_in_it_moves_a_cursor_or_ends_a_line(foul: str) -> None:
    assert one_line(f"a{foul}b{foul}") == "a b"


def test_what_is_longer_is_cut_and_looks_so() -> None:
    assert one_line("x" * 1000) == "x" * 1000
    assert one_line("x" * 1001) == "x" * 997 + "..."
    assert one_line("\n" * 5000 + "x") == "..."
    assert one_line("abcdefgh", 6) == "abc..."


def test_words_in_other_alphabets_stay() -> None:
    assert one_line("Größe 大きさ 🎮") == "Größe 大きさ 🎮"


@pytest.mark.parametrize("secret", ["hunter22-is-secret", "hunter22\nis\tsecret", "hunter22-is-secret\n"])
@pytest.mark.parametrize("before", [*range(970, 1003), 0])
def test_a_secret_that_the_engine_repeats_is_masked_also_where_its_words_were_cut(fake: FakeNode, secret: str, before: int) -> None:
    progress = fake.progress()
    progress.secrets = frozenset((secret, "another-secret"))
    said = EngineError(f"Cannot create it: {one_line('x' * before + secret + ' and so on')}")
    assert "h" not in progress.sentence(said).partition(": ")[2].replace("...", "")
