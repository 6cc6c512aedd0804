# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of a definition: the Panel's (its remote API), with the defaults of those that may be left out.

A key without a use here is known all the same, so that only a mistyped one is warned of.
"""

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
    KeySpec("source", ABSOLUTE_PATH, REQUIRED, "Directory or file of the node; must lie in one of the settings' `allowed_mounts`"),
    KeySpec("target", ABSOLUTE_PATH, REQUIRED, "Where the container sees it; not in `/proc`, `/sys` or `/dev`"),
    KeySpec("read_only", BOOLEAN, False, "Whether the container may only read it"),
)

RULE_KEYS = (
    KeySpec("match", TEXT_OR_NUMBER, REQUIRED, "What to look for; its form depends on the parser"),
    KeySpec("if_value", TEXT_OR_NUMBER, None, "Replace only where this is the present value"),
    KeySpec("replace_with", SCALAR, ABSENT, "The new value; this or `value` must be given"),
    KeySpec("value", SCALAR, ABSENT, "Another name of `replace_with`"),
)


def _rule(value: object, place: KeyLocation) -> dict[str, Any]:
    """Read a rule by its table; ``value`` stands for ``replace_with`` where that is absent."""
    given = read_keys(value, RULE_KEYS, place).complete(RULE_KEYS)
    other = given.pop("value")
    if given["replace_with"] is ABSENT:
        given["replace_with"] = other
    if given["replace_with"] is ABSENT:
        raise Mismatch(place.entry("replace_with").key, "is missing, expected text, a number, a boolean or null")
    return given


CONFIG_KEYS = (
    KeySpec("file", FILLED_TEXT, REQUIRED, "Path within the server's data directory"),
    KeySpec("parser", FILLED_TEXT, REQUIRED, "How the file is read, as the guide to configuration files says; another leaves it"),
    KeySpec("replace", list_of(ValueType("a rule", _rule, RULE_KEYS), "a list of rules"), (), "What to replace"),
    KeySpec("create_file", ANYTHING, None, "Pelican's; not used", used=False),
)

_SERVER_KEYS = (
    KeySpec("settings.uuid", UUID, REQUIRED, "Names the server, its container and its data directory"),
    KeySpec("settings.meta.name", TEXT_OR_NUMBER, "", "Name by which the server can be called if no other has it"),
    KeySpec(
        "settings.meta.priority",
        whole_number(-MOST),
        None,
        "Where `in_order` puts it: a lower one starts first and stops last; unset: 100. The settings' `system.priorities` counts before it",
    ),
    KeySpec(
        "settings.meta.game",
        TEXT,
        "",
        "What is played on it: a profile of the settings' `games.profiles`, or one that is built in; empty: as `games.rules` say",
    ),
    KeySpec("settings.suspended", BOOLEAN, False, "A suspended server is neither started nor restarted"),
    KeySpec("settings.container.image", IMAGE, REQUIRED, "The image; `~` before it: never pulled"),
    KeySpec("settings.invocation", TEXT, "", "The start command, passed as `STARTUP`; the image's entrypoint expands `{{X}}`", secret=True),
    KeySpec(
        "settings.environment", VARIABLES, {}, "Environment variables; names are upper-cased, the first of equal names wins", secret=True
    ),
    KeySpec("settings.labels", map_of(SCALAR_TEXT, "a map of text"), {}, "Labels of the container"),
    KeySpec("settings.egg", EGG, None, "What it was made from: the egg's UUID, for choosing servers by it"),
    KeySpec(
        "settings.crash_detection_enabled",
        BOOLEAN,
        None,
        "Whether it is supervised, unless a rule of the settings' `supervisor.rules` says; unset: as the settings say",
    ),
    KeySpec("settings.mounts", list_of(record(MOUNT_KEYS, "a mount"), "a list of mounts"), (), "What else the container sees of the node"),
)

_BUILD_KEYS = (
    KeySpec(
        "settings.build.memory_limit", whole_number(0), 0, "Memory in decimal MB, before the settings' overhead, 7 at least; 0: unlimited"
    ),
    KeySpec("settings.build.swap", whole_number(-1), 0, "Swap in decimal MB beyond the memory; 0: none, -1: unlimited"),
    KeySpec(
        "settings.build.io_weight",
        zero_or_between(10, 1000),
        500,
        "Weight of its disk access; 0: the engine's default",
    ),
    KeySpec("settings.build.cpu_limit", whole_number(0), 0, "Percent of one CPU core; 0: unlimited"),
    KeySpec("settings.build.threads", CPUS, "", "The CPUs it may run on, such as `0,2-3`; empty: all"),
    KeySpec("settings.build.disk_space", whole_number(-MOST), 0, "MiB its data directory may use for a start; 0 or less: unlimited"),
    KeySpec("settings.build.oom_disabled", BOOLEAN, None, "Whether the OOM killer spares it; unset: as `settings.container`'s"),
    KeySpec("settings.build.oom_killer", BOOLEAN, None, "Pelican's inverse of `oom_disabled`"),
    KeySpec("settings.container.oom_disabled", BOOLEAN, False, "Used where `settings.build` has neither key"),
)

_ALLOCATION_KEYS = (
    KeySpec("settings.allocations.force_outgoing_ip", BOOLEAN, False, "Give it a network of its own that goes out by the default address"),
    KeySpec("settings.allocations.default.ip", ADDRESS, "0.0.0.0", "Passed as `SERVER_IP`"),
    KeySpec("settings.allocations.default.port", whole_number(0, 65535), 0, "Passed as `SERVER_PORT`; 0: none"),
    KeySpec(
        "settings.allocations.mappings",
        PORTS,
        {},
        "The ports that are published, TCP and UDP, by address; a port once among addresses that overlap",
    ),
)

_FILES = list_of(record(CONFIG_KEYS, "a file"), "a list of files")
_PROCESS_KEYS = (
    KeySpec(
        "process_configuration.startup.done",
        list_of(TEXT, "a list of text"),
        (),
        "Output that says it is up: text, or `regex:...`",
    ),
    KeySpec("process_configuration.startup.strip_ansi", BOOLEAN, False, "Remove terminal escapes before looking"),
    KeySpec(
        "process_configuration.stop.type",
        TEXT,
        "",
        "`command` (on its input), `signal`, `stop` or empty (both native)",
    ),
    KeySpec("process_configuration.stop.value", TEXT_OR_NUMBER, "", "The command, or the signal: `C`, `^C`, a name or a number"),
    KeySpec(
        "process_configuration.stop.timeout",
        SECONDS,
        None,
        "Seconds before SIGKILL, for containers made from now on; unset: the settings' `system.stop_timeout`",
    ),
    KeySpec(
        "process_configuration.configs",
        _FILES,
        (),
        "Files edited before a start",
        secret=True,
    ),
)

#: What is written into a kept definition beside its own keys: its form, and the Panel it came from, if it came from one.
SCHEMA_KEY, PANEL_KEY = "schema", "panel"
#: What differs with where a definition was read, and says nothing of its server.
ORIGIN_KEYS = ("uuid", SCHEMA_KEY, PANEL_KEY)

_UNUSED_KEYS = tuple(
    KeySpec(name, ANYTHING, None, meaning, used=False)
    for name, meaning in (
        ("uuid", "Repeats `settings.uuid` in the Panel's lists"),
        (SCHEMA_KEY, "Form of a definition that was kept on the node"),
        (PANEL_KEY, "The Panel that a definition kept on the node came from"),
        ("settings.id", "Pelican's number of the server"),
        ("settings.meta.description", "For people"),
        ("settings.skip_egg_scripts", "For installing"),
        ("settings.container.requires_rebuild", "A container is brought in line whenever it differs"),
        ("process_configuration.startup.user_interaction", "Used by no version of Wings"),
    )
)

#: Every key of a definition, in the order of the documentation.
KEYS = (*_SERVER_KEYS, *_BUILD_KEYS, *_ALLOCATION_KEYS, *_PROCESS_KEYS, *_UNUSED_KEYS)
