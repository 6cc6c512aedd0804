# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of routes as an OpenAPI 3.1 document; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ..process.version import VERSION
from .route import AnswerDoc, Route, failure
from .schemas import ERROR

_TOKEN_ANSWERS = {401: failure("No token"), 403: failure("Wrong token")}
_SERVER_ANSWERS = {404: failure("This node has no such server"), 500: failure("The engine does not answer")}
_BODY_ANSWERS = {408: failure("The body did not come in time"), 413: failure("The body is larger than 64 KiB")}
_FORMATS = {"server": {"format": "uuid"}}


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the document, for whichever address the routes are reached at."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fleet.power",
            "version": VERSION,
            "description": "Power actions on servers, as in Pterodactyl Wings, and their results.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(route: Route) -> dict[str, Any]:
    parameters = _parameters(route)
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        **({"security": []} if route.public else {}),
        **({"parameters": parameters} if parameters else {}),
        "responses": {str(status): _response(answer) for status, answer in _answers(route).items()},
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": route.body}}}
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    in_path = re.findall(r"{(\w+)}", route.path)
    return [
        *({"name": name, "in": "path", "required": True, "schema": {"type": "string", **_FORMATS.get(name, {})}} for name in in_path),
        *({"name": name, "in": "query", "schema": schema} for name, schema in route.query.items()),
    ]


def _answers(route: Route) -> dict[int, AnswerDoc]:
    """Return the answers of a route by status: its own, and before them those of its kind. A public one says all of its own."""
    kind: dict[int, AnswerDoc] = {}
    if not route.public:
        kind.update(_TOKEN_ANSWERS)
        if route.of_server:
            kind.update(_SERVER_ANSWERS)
    if route.body is not None:
        kind.update(_BODY_ANSWERS)
    return {**kind, **route.answers}


def _response(answer: AnswerDoc) -> dict[str, Any]:
    response: dict[str, Any] = {"description": answer.text}
    if answer.headers:
        response["headers"] = {
            name: {**({"description": text} if text else {}), "schema": {"type": "string"}} for name, text in answer.headers.items()
        }
    if answer.schema is not None:
        # Wings labels some of its errors as text although they are JSON.
        types = ("application/json", "text/plain") if answer.schema is ERROR else ("application/json",)
        response["content"] = {each: {"schema": answer.schema} for each in types}
    return response
