# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes as an OpenAPI 3.1 document; pure. The tests hold it against what is answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..._power.model.model import Outcome, PowerAction, PowerState
from ..process.version import VERSION
from ..wire.replies import UNLISTED

#: Answers by status: the schema of the body, None for none, and what it means.
_Said = Mapping[str, "tuple[Mapping[str, Any] | None, str]"]


def _list_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema}


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}, "request_id": {"type": "string", "format": "uuid"}},
}
_STATES = [state.value for state in PowerState]
_OPERATION = {
    "type": "object",
    "required": ["id", "server", "action", "outcome", "progress", "operation"],
    "properties": {
        "id": {"type": "string"},
        "server": {"type": "string", "format": "uuid"},
        "short_id": {"type": "string"},
        "name": {"type": "string"},
        "action": {"enum": [action.value for action in PowerAction]},
        "origin": {"type": "string"},
        "reason": {"type": "string"},
        "progress": {"enum": ["accepted", "begun", "ended"]},
        "outcome": {"enum": [*(outcome.value for outcome in Outcome), None], "description": "null while it goes on"},
        "code": {"type": "string"},
        "msg": {"type": "string"},
        "changed": {"type": "boolean"},
        "state_before": {"enum": _STATES},
        "state": {"enum": _STATES},
        "stop": {"type": "object"},
        "lock": {"type": "object"},
        "operation": {"type": "object"},
    },
}
_NUMBER = {"type": "integer", "minimum": 0}
_SERVER: dict[str, Any] = {
    "type": "object",
    "required": ["state", "is_suspended", "utilization", "configuration"],
    "properties": {
        "state": {"enum": _STATES},
        "is_suspended": {"type": "boolean"},
        "utilization": {
            "type": "object",
            "required": ["memory_bytes", "memory_limit_bytes", "cpu_absolute", "network", "uptime", "state", "disk_bytes"],
            "properties": {
                "memory_bytes": _NUMBER,
                "memory_limit_bytes": _NUMBER,
                "cpu_absolute": {"type": "number", "minimum": 0, "description": "percent of one core"},
                "network": {"type": "object", "properties": {"rx_bytes": _NUMBER, "tx_bytes": _NUMBER}},
                "uptime": {**_NUMBER, "description": "milliseconds"},
                "state": {"enum": _STATES},
                "disk_bytes": _NUMBER,
            },
        },
        "configuration": {"type": "object", "required": ["uuid", "meta", "suspended"]},
    },
}
_TEXT = {"type": "string"}
_LISTED = {
    **_SERVER,
    "properties": {
        **_SERVER["properties"],
        "state": {"enum": [*_STATES, None], "description": "null if it could not be seen"},
        "utilization": {**_SERVER["properties"]["utilization"], "type": ["object", "null"]},
        "code": {**_TEXT, "description": "why it could not be seen"},
        "msg": {**_TEXT, "description": "the same in a sentence"},
    },
}
_SYSTEM = {
    "type": "object",
    "required": ["version"],
    "properties": {
        "version": _TEXT,
        **dict.fromkeys(("architecture", "kernel_version", "os"), _TEXT),
        "cpu_count": _NUMBER,
        "docker": {"type": "object", "required": ["version", "cgroups", "containers", "storage", "runc"]},
        "system": {
            "type": "object",
            "properties": {
                **dict.fromkeys(("architecture", "kernel_version", "os", "os_type"), _TEXT),
                **dict.fromkeys(("cpu_threads", "memory_bytes"), _NUMBER),
            },
        },
    },
}
_POWER = {
    "type": "object",
    "required": ["action"],
    "properties": {
        "action": {"enum": [action.value for action in PowerAction]},
        "wait_seconds": {"type": ["integer", "null"], "default": 30, "description": "0 to 300; anything else counts as 30"},
    },
}
_COMMANDS = {"type": "object", "properties": {"commands": {"type": ["array", "null"], "items": {"type": "string"}}}}
_DENIED = {"type": "object", "properties": {"jtis": {"type": ["array", "null"], "items": {"type": "string"}}}}
_LINES = {"type": "object", "required": ["data"], "properties": {"data": {"type": ["array", "null"], "items": {"type": "string"}}}}
_OPERATIONS: _Said = {"200": (_list_of(_OPERATION), "The last first"), "500": (_ERROR, "No journal")}
_SERVER_PARAMETER = {"name": "server", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
_OPERATION_PARAMETER = {"name": "operation", "in": "path", "required": True, "schema": {"type": "string"}}
_BODY_TOO_MUCH = {"408": "The body did not come in time", "413": "The body is larger than 64 KiB"}


def document() -> dict[str, Any]:
    """The document, for whichever address the face is reached at."""
    server = "/api/servers/{server}"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fleet.power",
            "version": VERSION,
            "description": "Power actions on servers, as Pterodactyl Wings takes them, and what became of them.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": {
            "/healthz": {"get": _open("health", "Whether actions are taken", {"200": "They are", "503": "They are not"})},
            "/openapi.json": {"get": _open("openapi", "This document", {"200": "It"})},
            "/metrics": {"get": _route("metrics", "Metrics for Prometheus", {"200": (None, "Text"), "501": (_ERROR, "No library")})},
            "/api/system": {"get": _system()},
            "/api/servers": {"get": _servers()},
            server: {"get": _of_server("server", "One server", {"200": (_SERVER, "It"), "500": (_ERROR, "No engine")})},
            f"{server}/power": {"post": _power()},
            f"{server}/operations": {"get": _of_server("operations", "Its operations", _OPERATIONS)},
            f"{server}/operations/{{operation}}": {"get": _operation()},
            f"{server}/commands": {"post": _commands()},
            f"{server}/logs": {"get": _logs()},
            f"{server}/ws": {"get": _websocket()},
            f"{server}/ws/deny": {"post": _deny()},
            f"{server}/sync": {
                "post": _of_server("sync", "Read its definition anew", {"204": (None, "Read"), "500": (_ERROR, "Not read")})
            },
        },
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _servers() -> dict[str, Any]:
    route = _route("servers", "Every server", {"200": (_list_of(_LISTED), "They"), "500": (_ERROR, "No engine")})
    meaning = "Where the list is not whole: the codes of why lists of servers could not be had"
    route["responses"]["200"]["headers"] = {UNLISTED: {"description": meaning, "schema": {"type": "string"}}}
    return route


def _power() -> dict[str, Any]:
    said = {
        "202": (None, "Accepted; where its end can be read is in the headers"),
        "400": (_ERROR, "Not readable, or the server is suspended"),
        "422": (_ERROR, "No such action"),
        "503": (_ERROR, "Nothing was accepted"),
    }
    route = _with_body(_of_server("power", "Ask for a power action", said), _POWER)
    headers = {name: {"schema": {"type": "string"}} for name in ("X-Operation-Id", "Location")}
    route["responses"]["202"]["headers"] = headers
    return route


def _operation() -> dict[str, Any]:
    said = {
        "200": (_OPERATION, "It, when it has ended or after the wait"),
        "400": (_ERROR, "No such wait"),
        "500": (_ERROR, "No journal"),
    }
    route = _of_server("operation", "One operation", said)
    wait = {"name": "wait", "in": "query", "schema": {"type": "integer", "minimum": 0, "maximum": 300, "default": 0}}
    return {**route, "parameters": [_SERVER_PARAMETER, _OPERATION_PARAMETER, wait]}


def _commands() -> dict[str, Any]:
    said = {
        "204": (None, "Written"),
        "400": (_ERROR, "Not readable"),
        "500": (_ERROR, "No container, or no engine"),
        "502": (_ERROR, "The server is stopped"),
    }
    return _with_body(_of_server("commands", "Write lines to its standard input", said), _COMMANDS)


def _websocket() -> dict[str, Any]:
    said = {
        "400": "No websocket request, or too many are open of this server",
        "403": "The page's origin is not allowed",
        "404": "No such server here",
        "501": "No library",
        "503": "Too many are open",
    }
    responses = {"101": _answer(None, "It opens"), **{status: _answer(_ERROR, text) for status, text in said.items()}}
    summary = "Its console, a websocket; the token is the Panel's, and comes in the first event"
    return {"operationId": "websocket", "summary": summary, "security": [], "parameters": [_SERVER_PARAMETER], "responses": responses}


def _deny() -> dict[str, Any]:
    said = {"204": (None, "They are no good any more"), "400": (_ERROR, "Not readable")}
    return _with_body(_of_server("deny", "Take back tokens of its websockets by their jti", said), _DENIED)


def _system() -> dict[str, Any]:
    route = _route("system", "The machine, with v=2 its engine too", {"200": (_SYSTEM, "It"), "500": (_ERROR, "No engine")})
    return {**route, "parameters": [{"name": "v", "in": "query", "schema": {"type": "string"}}]}


def _logs() -> dict[str, Any]:
    route = _of_server("logs", "The last lines of its output", {"200": (_LINES, "They"), "500": (_ERROR, "No engine")})
    return {**route, "parameters": [_SERVER_PARAMETER, {"name": "size", "in": "query", "schema": {"type": "string"}}]}


def _route(name: str, summary: str, said: _Said) -> dict[str, Any]:
    answers = {"401": (_ERROR, "No token"), "403": (_ERROR, "Another token"), **said}
    return {"operationId": name, "summary": summary, "responses": {status: _answer(*answer) for status, answer in answers.items()}}


def _of_server(name: str, summary: str, said: _Said) -> dict[str, Any]:
    always = {"404": (_ERROR, "No such server here"), "500": (_ERROR, "No engine to ask for the server")}
    return {**_route(name, summary, {**always, **said}), "parameters": [_SERVER_PARAMETER]}


def _open(name: str, summary: str, said: dict[str, str]) -> dict[str, Any]:
    answers = {status: _answer({"type": "object"}, text) for status, text in said.items()}
    return {"operationId": name, "summary": summary, "security": [], "responses": answers}


def _with_body(route: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    responses = {**route["responses"], **{status: _answer(_ERROR, text) for status, text in _BODY_TOO_MUCH.items()}}
    return {**route, "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}, "responses": responses}


def _answer(schema: Mapping[str, Any] | None, text: str) -> dict[str, Any]:
    if schema is None:
        return {"description": text}
    # Wings labels some of its errors as text although they are JSON.
    types = ("application/json", "text/plain") if schema is _ERROR else ("application/json",)
    return {"description": text, "content": {each: {"schema": schema} for each in types}}
