# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of a definition, as in the Panel's remote API. Unused keys are listed, because unknown keys cause a warning."""

from __future__ import annotations

from typing import Any

from ..model.schema import ABSENT, REQUIRED, KeyLocation, KeySpec, Mismatch, ValueType, read_keys
from .kinds import (
    ABSOLUTE_PATH,
    ADDRESS,
    ANYTHING,
    BOOLEAN,
    CPUS,
    EGG,
    FILLED_TEXT,
    IMAGE,
    MOST,
    ON_FAILED_START,
    PORTS,
    SCALAR,
    SCALAR_TEXT,
    SECONDS,
    TEXT,
    TEXT_OR_NUMBER,
    UUID,
    VARIABLES,
    list_of,
    map_of,
    record,
    whole_number,
    zero_or_between,
)

MOUNT_KEYS = (
    KeySpec("source", ABSOLUTE_PATH, REQUIRED, "Directory or file of the node, within the settings' `allowed_mounts`"),
    KeySpec("target", ABSOLUTE_PATH, REQUIRED, "Path in the container; not in `/proc`, `/sys` or `/dev`"),
    KeySpec("read_only", BOOLEAN, False, "Mount it read-only"),
)

RULE_KEYS = (
    KeySpec("match", TEXT_OR_NUMBER, REQUIRED, "What to replace; its form depends on the parser"),
    KeySpec("if_value", TEXT_OR_NUMBER, None, "Replace only if this is the present value"),
    KeySpec("replace_with", SCALAR, ABSENT, "The new value; required, unless `value` is set"),
    KeySpec("value", SCALAR, ABSENT, "The same as `replace_with`"),
)


def _rule(value: object, place: KeyLocation) -> dict[str, Any]:
    given = read_keys(value, RULE_KEYS, place).complete(RULE_KEYS)
    other = given.pop("value")
    if given["replace_with"] is ABSENT:
        given["replace_with"] = other
    if given["replace_with"] is ABSENT:
        raise Mismatch(place.entry("replace_with").key, "is missing, expected text, a number, a boolean or null")
    return given


CONFIG_KEYS = (
    KeySpec("file", FILLED_TEXT, REQUIRED, "Path within the server's data directory"),
    KeySpec("parser", FILLED_TEXT, REQUIRED, "Format of the file, see the guide to configuration files"),
    KeySpec("replace", list_of(ValueType("a rule", _rule, RULE_KEYS), "a list of rules"), (), "The rules"),
    KeySpec("create_file", ANYTHING, None, "Of Pelican", used=False),
)

_SERVER_KEYS = (
    KeySpec("settings.uuid", UUID, REQUIRED, "Name of the container and of the data directory"),
    KeySpec("settings.meta.name", TEXT_OR_NUMBER, "", "Name of the server"),
    KeySpec(
        "settings.meta.priority",
        whole_number(-MOST),
        None,
        "Place in `in_order`: the lowest starts first; unset: 100. The settings' `system.priorities` comes first",
    ),
    KeySpec("settings.meta.game", TEXT, "", "Game profile, of the settings' `games.profiles` or built in; empty: as in `games.rules`"),
    KeySpec("settings.suspended", BOOLEAN, False, "Refuse starts and restarts"),
    KeySpec("settings.container.image", IMAGE, REQUIRED, "The image; `~` before it: never pull it"),
    KeySpec("settings.invocation", TEXT, "", "Start command, passed as `STARTUP`; the image's entrypoint expands `{{X}}`", secret=True),
    KeySpec("settings.environment", VARIABLES, {}, "Environment variables; names become upper case", secret=True),
    KeySpec("settings.labels", map_of(SCALAR_TEXT, "a map of text"), {}, "Labels of the container"),
    KeySpec("settings.egg", EGG, None, "UUID of the egg, to select servers"),
    KeySpec(
        "settings.crash_detection_enabled", BOOLEAN, None, "Supervise the server; `supervisor.rules` come first; unset: as the settings say"
    ),
    KeySpec(
        "settings.on_failed_start",
        ON_FAILED_START,
        None,
        "`revert`: after a start that fails, start the previous version again; unset: as the settings' `revert` says",
    ),
    KeySpec("settings.mounts", list_of(record(MOUNT_KEYS, "a mount"), "a list of mounts"), (), "Mounts of the container"),
)

_BUILD_KEYS = (
    KeySpec(
        "settings.build.memory_limit", whole_number(0), 0, "Memory in decimal MB without the settings' overhead, at least 7; 0: unlimited"
    ),
    KeySpec("settings.build.swap", whole_number(-1), 0, "Swap in decimal MB; 0: none, -1: unlimited"),
    KeySpec("settings.build.io_weight", zero_or_between(10, 1000), 500, "Weight of disk access; 0: the engine's default"),
    KeySpec("settings.build.cpu_limit", whole_number(0), 0, "Percent of one CPU core; 0: unlimited"),
    KeySpec("settings.build.threads", CPUS, "", "CPUs to use, such as `0,2-3`; empty: all"),
    KeySpec("settings.build.disk_space", whole_number(-MOST), 0, "Largest data directory for a start, in MiB; 0 or less: unlimited"),
    KeySpec("settings.build.oom_disabled", BOOLEAN, None, "Disable the OOM killer; unset: as `settings.container`"),
    KeySpec("settings.build.oom_killer", BOOLEAN, None, "Inverse of `oom_disabled`, of Pelican"),
    KeySpec("settings.container.oom_disabled", BOOLEAN, False, "Used if `settings.build` has neither key"),
)

_ALLOCATION_KEYS = (
    KeySpec(
        "settings.allocations.force_outgoing_ip", BOOLEAN, False, "Use a network of its own, with the default address for outgoing traffic"
    ),
    KeySpec("settings.allocations.default.ip", ADDRESS, "0.0.0.0", "Passed as `SERVER_IP`"),
    KeySpec("settings.allocations.default.port", whole_number(0, 65535), 0, "Passed as `SERVER_PORT`; 0: none"),
    KeySpec("settings.allocations.mappings", PORTS, {}, "Published ports, TCP and UDP, by address"),
)

_FILES = list_of(record(CONFIG_KEYS, "a file"), "a list of files")
_PROCESS_KEYS = (
    KeySpec("process_configuration.startup.done", list_of(TEXT, "a list of text"), (), "Readiness lines: text, or `regex:...`"),
    KeySpec("process_configuration.startup.strip_ansi", BOOLEAN, False, "Remove terminal escapes from the output first"),
    KeySpec("process_configuration.stop.type", TEXT, "", "`command`, `signal`, `stop` or empty (both native)"),
    KeySpec("process_configuration.stop.value", TEXT_OR_NUMBER, "", "The command, or the signal: `C`, `^C`, a name or a number"),
    KeySpec(
        "process_configuration.stop.timeout", SECONDS, None, "Seconds before SIGKILL, for new containers; unset: `system.stop_timeout`"
    ),
    KeySpec("process_configuration.configs", _FILES, (), "Configuration files to edit before a start", secret=True),
)

#: Additional keys of a kept definition: its version, and the Panel it came from.
SCHEMA_KEY, PANEL_KEY = "schema", "panel"
#: These differ by source, and do not describe the server.
ORIGIN_KEYS = ("uuid", SCHEMA_KEY, PANEL_KEY)

_UNUSED_KEYS = tuple(
    KeySpec(name, ANYTHING, None, meaning, used=False)
    for name, meaning in (
        ("uuid", "`settings.uuid` in the Panel's lists"),
        (SCHEMA_KEY, "Format of a kept definition"),
        (PANEL_KEY, "Panel of a kept definition"),
        ("settings.id", "Number of the server in Pelican"),
        ("settings.meta.description", "Text for people"),
        ("settings.skip_egg_scripts", "For installation"),
        ("settings.container.requires_rebuild", "A start replaces every outdated container"),
        ("process_configuration.startup.user_interaction", "Wings ignores it"),
    )
)

KEYS = (*_SERVER_KEYS, *_BUILD_KEYS, *_ALLOCATION_KEYS, *_PROCESS_KEYS, *_UNUSED_KEYS)
