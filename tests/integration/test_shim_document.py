# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP shim against its own OpenAPI document: each request gets an answer that the document allows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import schemathesis
from ansible_collections.fleet.power.plugins.module_utils._http_shim.routes.about import document
from ansible_collections.fleet.power.plugins.module_utils._http_shim.service import ROUTES
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event, EventType
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import booleans
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from .lab import Lab, lab_on
from .shim import TOKEN, Shim, shim_on

CHECKS = [status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance]
#: Allowed 5xx statuses: the container, the engine or the process is missing, or the queue is full.
OF_THE_SERVER = {"commands": {500, 502}, "logs": {500}, "sync": {500}, "power": {503}}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, docker_host: str) -> Iterator[Lab]:
    yield from lab_on(tmp_path_factory.mktemp("node"), docker_host)


@pytest.fixture(scope="module")
def shim(node: Lab) -> Iterator[Shim]:
    # Generated requests must not start servers: starts are slow.
    servers = [node.server(suspended=True) for _number in range(3)]
    with shim_on(node) as shim:
        for server in servers:
            shim.done(server, "stop")
        with contextlib.closing(node.node().journal) as journal:
            journal.events.open()
            journal.events.write(Event(EventType.EVENTS_DROPPED, "2026-03-01T12:00:00.250Z", {"count": 1}))
        yield shim


DOCUMENT = schemathesis.openapi.from_dict(document(ROUTES))
OPERATIONS = {each.ok().definition.raw["operationId"]: each.ok() for each in DOCUMENT.get_all_operations()}
CASES = [
    (name, mode)
    for name, operation in OPERATIONS.items()
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    # A route without parameters and body has no negative requests.
    if mode is GenerationMode.POSITIVE or {"parameters", "requestBody"} & set(operation.definition.raw)
]


@pytest.mark.samples(
    *("server, positive", "power, negative", "commands, positive", "freeze, negative"),
)
@pytest.mark.parametrize(("name", "mode"), CASES, ids=[f"{name}, {mode.value}" for name, mode in CASES])
def test_each_answer_conforms_to_the_document(shim: Shim, node: Lab, name: str, mode: GenerationMode) -> None:
    ended = shim.ask("GET", f"/api/servers/{node.uuids[0]}/operations").json[-1]["id"]

    @settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=OPERATIONS[name].as_strategy(generation_mode=mode), known=booleans())
    def hold(case: schemathesis.Case, known: bool) -> None:
        # Generated ids name no server of ours. An ended operation is answered without a wait.
        if known:
            ours = {"server": node.uuids[0], "operation": ended}
            case.path_parameters.update({key: ours[key] for key in case.path_parameters or {}})
        if name == "events" and isinstance((case.query or {}).get("wait"), int):
            # A read of events must not wait either.
            case.query["wait"] = 0
        response = case.call(shim.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20, allow_redirects=False)
        if response.status_code in (301, 307):
            # An empty last part makes the path of another route with an extra slash.
            return
        assert response.status_code < 500 or response.status_code in OF_THE_SERVER.get(name, ())
        case.validate_response(response, checks=CHECKS)

    hold()
