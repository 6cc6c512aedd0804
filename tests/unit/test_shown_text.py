# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results hold nothing that a terminal acts on, whatever a definition, a file of the server, its log or a request holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.server_facts import FactOptions, describe
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.model.report import (
    Detail,
    diff,
    entries,
    failure_message,
    is_failure,
    summary,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Result
from ansible_collections.fleet.power.tests.unit.fake_node import NO_GROUP, FakeNode

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
