# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of every module agrees with its options, examples and results."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.server_facts import FactOptions, ask_players, describe_each
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.service_facts import event_facts
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import parse_definition
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.answers import read_server
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.call import describe_at
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.client import Endpoint
from ansible_collections.fleet.power.plugins.module_utils._power.journal.freezes import freeze
from ansible_collections.fleet.power.plugins.module_utils._power.journal.outbox import Delivery
from ansible_collections.fleet.power.plugins.module_utils._power.model.option import argument_spec
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import PlayerCount, PlayerWait
from ansible_collections.fleet.power.plugins.module_utils._power.model.proof import Proof
from ansible_collections.fleet.power.plugins.module_utils._power.model.report import Unseen, entry, summary
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import (
    Downtime,
    HookReport,
    Outcome,
    Phase,
    PlanStep,
    PrebootStep,
    Result,
    StopReport,
    StopTimeout,
    TimeoutSource,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState, Run, Server
from ansible_collections.fleet.power.plugins.module_utils._power.options import INFO_OPTIONS, LIMIT_OPTIONS, POWER_OPTIONS
from ansible_collections.fleet.power.tests.integration.wings_server import TOKEN, wings
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode

yaml = pytest.importorskip("yaml")
ArgumentSpecValidator = pytest.importorskip("ansible.module_utils.common.arg_spec").ArgumentSpecValidator
modules = importlib.import_module("ansible_collections.fleet.power.plugins.modules")

SPECS: dict[str, Mapping[str, Any]] = {
    "server_power": argument_spec(POWER_OPTIONS),
    "server_power_info": argument_spec(INFO_OPTIONS),
    "server_limits": argument_spec(LIMIT_OPTIONS),
}


class Loader(yaml.SafeLoader):  # type: ignore[name-defined,misc]
    """YAML as Ansible reads it: `!unsafe` marks a text that is not a template."""


class Unsafe(str):
    """A text that is not a template."""


Loader.add_constructor("!unsafe", lambda loader, node: Unsafe(loader.construct_scalar(node)))


def document(module: str, part: str) -> Any:
    return yaml.load(getattr(importlib.import_module(f"{modules.__name__}.{module}"), part), Loader)


def is_template(value: object) -> bool:
    """Whether Ansible fills in a value, or a part of it, before the module sees it."""
    if isinstance(value, Mapping):
        return any(map(is_template, value.values()))
    return any(map(is_template, value)) if isinstance(value, list) else "{{" in str(value) and not isinstance(value, Unsafe)


def examples() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Module, name and options of each task in the examples that calls a module of ours."""
    for module in SPECS:
        for task in document(module, "EXAMPLES"):
            for called in SPECS:
                if f"fleet.power.{called}" in task:
                    yield called, task["name"], task[f"fleet.power.{called}"] or {}


@pytest.mark.parametrize("module, name, given", list(examples()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_example_is_accepted(module: str, name: str, given: Mapping[str, Any]) -> None:
    complete = {option: value for option, value in given.items() if not is_template(value)}
    assert ArgumentSpecValidator(SPECS[module]).validate(complete).error_messages == []
    assert set(given) <= set(SPECS[module])
    assert all(parse_definition(raw, where=name).warnings == () for raw in complete.get("definitions", ()))


def names(documented: Mapping[str, Any]) -> dict[str, Any]:
    """The names of documented fields, nested where the documentation describes inner fields."""
    return {name: names(field["contains"]) if "contains" in field else None for name, field in documented.items()}


def names_like(documented: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The names of a result's fields, nested where the documentation describes inner fields."""
    return {
        name: names_like(documented[name]["contains"], value[0] if isinstance(value, list) else value)
        if "contains" in documented.get(name, {})
        else None
        for name, value in found.items()
    }


def check_samples(documented: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """A record without a description of each inner field has them in its sample, or names them in its description."""
    for name, field in documented.items():
        value, sample = ((each or [None])[0] if isinstance(each, list) else each for each in (found.get(name), field.get("sample")))
        if name != "labels" and isinstance(value, Mapping) and isinstance(sample, Mapping):
            described = set(re.findall(r"C\((\w+)\)", str(field["description"])))
            assert set(sample) <= set(value) <= set(sample) | described, name


def full_result() -> Result:
    moment = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
    return Result(
        server=Server(UUID, "Cobalt"),
        action=PowerAction.RESTART,
        outcome=Outcome.FAILED,
        operation="0b1f7f3e-52d0-4e0e-8a57-3c4f7b6b9f10",
        requested_at=moment,
        ended_at=moment,
        code="start_failed",
        msg="Cannot",
        changed=True,
        state_before=PowerState.RUNNING,
        state=PowerState.OFFLINE,
        stop=StopReport("command", False, 1.0),
        stop_timeout=StopTimeout(120, TimeoutSource.CONTAINER),
        waited_seconds=1.0,
        holder={"action": "stop"},
        plan=(PlanStep.STOP, PlanStep.PREBOOT, PlanStep.START),
        preboot=(PrebootStep("volume", changed=True),),
        hooks=(HookReport("post_stop", 0, 1.0, ("saved",)),),
        proof=Proof(UUID, "Cobalt", "0b1f7f3e", "2026-01-31T12:00:00.123Z", container="4d2f1b", differs=("image",), msg="it ended"),
        cancelled=PowerAction.START,
        exit_code=1,
        players=PlayerCount(3, 20),
        player_wait=PlayerWait(61.0, (60, 10), announced=True),
        run=Run("4d2f1b", "2026-01-31T12:00:00.123456789Z"),
        log=("crashed",),
        seconds=2.0,
        phases=(("stop", 0.1),),
        downtime=Downtime("2026-01-31T12:00:00.123456789Z", 1.0, 2.0),
    )


def test_the_fields_of_a_result_are_documented() -> None:
    documented = document("server_power", "RETURN")
    fields = documented["servers"]["contains"]
    found = entry(full_result(), check=False, all_steps=True)
    assert names_like(fields, found) == names(fields)
    check_samples(fields, found)
    assert set(documented) == {"action", "servers", "summary", "msg", "code"}
    assert set(summary([full_result()] * 2)) == {"failed", "text"}


def test_the_fields_of_info_are_documented(fake: FakeNode) -> None:
    fake.up()
    # This ends a run.
    fake.perform("restart")
    documented = document("server_power_info", "RETURN")
    fields = documented["servers"]["contains"]
    asked = replace(fake.request("restart"), origin="alice", reason="update")
    countdown = fake.node.countdowns.begin(UUID, asked, Run("c", "s"), since="2026-01-31T12:00:00Z", due="2026-01-31T13:00:00Z")
    countdown.write()
    freeze(fake.node.journal.freezes, (), until=fake.clock.now() + timedelta(hours=1), reason="final", origin="alice")
    with fake.lock() as lock:
        lock.enter(Phase.PREPARE)
        wanted = FactOptions(tail=1, operations=1, crashes=1, count_players=ask_players)
        described = describe_each([Server(UUID)], fake.node, wanted, remember=fake.node.journal.runs.record_match)
    countdown.release()
    (found,) = described.entries
    fake.node.journal.events.open()
    fake.node.journal.deliveries.save("pager", Delivery("box", 0))
    events, unsure = event_facts(fake.node)
    assert not unsure and described.freeze is not None
    check_samples(documented, {"events": events, "supervisor": described.supervisor, "freeze": described.freeze})
    check_samples({"receivers": {"sample": documented["events"]["sample"]["receivers"], "description": ""}}, events)
    check_samples(fields, found)
    # `remote` joins facts of Wings and of our HTTP shim. Only the shim reports supervision and players.
    ours = {name: found[name] for name in ("outdated", "supervision", "countdown", "freeze", "players")}
    own = read_server({"state": "running", **ours}, UUID).entry()
    remote = {**facts_of_an_endpoint(), **{name: own[name] for name in ours}}
    unseen = {name for name, field in fields.items() if field["returned"] == "where the server could not be seen"}
    assert set(Unseen(Server(UUID), "engine_error", "why").entry(found)) == {*found, *unseen}
    assert fields_like(fields, remote) | fields_like(fields, found) | unseen == set(every_field(fields))
    for path, field in every_field(fields).items():
        if path in unseen:
            continue
        here, there = path in fields_like(fields, found), path in fields_like(fields, remote)
        assert (field["returned"] == "not through an endpoint", field["returned"].startswith("through an endpoint")) == (
            not there,
            not here,
        ), path
    assert remote["utilization"].keys() == fields["utilization"]["sample"].keys()


def facts_of_an_endpoint() -> Mapping[str, Any]:
    """The facts of a server from an endpoint that reports every field."""
    with wings() as server:
        server.machine(up_for=93.5).output = ["ready"]
        endpoint = Endpoint(server.url, TOKEN)
        (entry,) = describe_at([], endpoint, tail=1).entries
        endpoint.close()
    return entry


def every_field(documented: Mapping[str, Any], above: str = "") -> dict[str, Mapping[str, Any]]:
    """Each documented field by its path, with inner fields."""
    every = {}
    for name, field in documented.items():
        every[above + name] = field
        every.update(every_field(field.get("contains", {}), f"{above}{name}."))
    return every


def fields_like(documented: Mapping[str, Any], found: Mapping[str, Any], above: str = "") -> set[str]:
    """The paths of a result's fields, as deep as they are documented."""
    paths = set()
    for name, value in found.items():
        inside = documented.get(name, {}).get("contains")
        whole = value[0] if inside and isinstance(value, list) else value
        paths |= {above + name} | (fields_like(inside, whole, f"{above}{name}.") if inside else set())
    return paths
