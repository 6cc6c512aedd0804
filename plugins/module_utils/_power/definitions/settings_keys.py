# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of the settings, and rules for supervision and hooks; pure. If a key is unset, the key of Wings counts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..model.records import dataclass
from ..model.schema import Check, Gathered, KeyLocation, KeySpec, Mismatch, ValueType, read_keys
from ..model.supervision import Limits
from .game_keys import ARGV, GAME_KEYS
from .health_keys import HEALTH_KEYS, REVERT_KEYS
from .kinds import (
    ABSOLUTE_PATH,
    ADDRESS,
    ANYTHING,
    BOOLEAN,
    FACTOR,
    FILLED_TEXT,
    MOST,
    MULTIPLIERS,
    NETWORK,
    OPTIONAL_ADDRESS,
    SCALAR_TEXT,
    SECONDS,
    TEXT,
    TIMEZONE,
    checked,
    list_of,
    list_of_known,
    map_of,
    one_of,
    record,
    text_that,
    whole_number,
)
from .receiver_keys import EVENT_KEYS
from .selectors import EGG_KEY, LABEL_KEY, SELECTORS, SERVER_KEY, ServerSelector, rule_of, take_selector
from .stop_way import LONGEST_STOP_SECONDS

RESTART, LEAVE = "restart", "leave"

_CLEAN_EXIT = one_of(RESTART, LEAVE)
_MAX_RESTARTS = whole_number(0, 1000)
_POSITIVE_SECONDS = whole_number(1, LONGEST_STOP_SECONDS, "a whole number of seconds")

_SAYINGS = (
    KeySpec("supervise", BOOLEAN, None, "Supervise them"),
    KeySpec("clean_exit", _CLEAN_EXIT, None, "`supervisor.clean_exit` for them"),
    KeySpec("max_restarts", _MAX_RESTARTS, None, "`supervisor.max_restarts` for them"),
    KeySpec("reset_after", _POSITIVE_SECONDS, None, "`supervisor.reset_after` for them"),
    KeySpec("restart_unhealthy", BOOLEAN, None, "`supervisor.restart_unhealthy` for them"),
)


@dataclass(frozen=True)
class SupervisorRule:
    """A selector of servers and their supervision; None: unset."""

    servers: ServerSelector
    supervise: bool | None
    clean_exit: str | None
    max_restarts: int | None
    reset_after: int | None
    restart_unhealthy: bool | None


_RULE = rule_of(SupervisorRule, _SAYINGS, (SERVER_KEY, EGG_KEY, LABEL_KEY), sets=True)
_RULES = list_of(_RULE, "a list of rules")
SUPERVISOR_RULES = "supervisor.rules"
_OF_WINGS = "system.crash_detection"

SUPERVISOR_KEYS = (
    KeySpec("supervisor.enabled", BOOLEAN, None, f"Supervise servers without a rule or key of their own; unset: `{_OF_WINGS}.enabled`"),
    KeySpec("supervisor.clean_exit", _CLEAN_EXIT, None, f"After exit code 0; unset: `{_OF_WINGS}.detect_clean_exit_as_crash`"),
    KeySpec("supervisor.max_restarts", _MAX_RESTARTS, Limits.max_restarts, "Starts after consecutive crashes; then one an hour"),
    KeySpec(
        "supervisor.reset_after", _POSITIVE_SECONDS, int(Limits.reset_after), "Seconds of a run that reset the count of consecutive crashes"
    ),
    KeySpec("supervisor.restart_unhealthy", BOOLEAN, False, "Restart supervised servers that hang, by the health check of their container"),
    KeySpec("supervisor.unhealthy_stop_timeout", SECONDS, 30, "Seconds from the stop in such a restart, or in a revert, to SIGKILL"),
    KeySpec(SUPERVISOR_RULES, _RULES, (), "Rules for some servers; for each key the first match counts"),
)

WARN, STAY_DOWN = "warn", "stay_down"
POST_STOP, PRE_START = "post_stop", "pre_start"


@dataclass(frozen=True)
class Hook:
    """A program to run, with its arguments. ``on_failure`` concerns only post_stop."""

    command: tuple[str, ...]
    timeout: int
    user: str
    on_failure: str = WARN


@dataclass(frozen=True)
class HookRule:
    """A selector of servers and their hooks; None: unset."""

    servers: ServerSelector
    post_stop: Hook | None
    pre_start: Hook | None


_PROGRAM = checked(
    "a list of words, the program with its whole path first", lambda words: words[0].startswith("/") and words[0].isprintable(), ARGV.read
)
_USER = text_that("the name of a user", re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}").fullmatch)


def _hook_keys(hook: str, when: str) -> tuple[KeySpec, ...]:
    return (
        KeySpec(f"{hook}.command", _PROGRAM, None, f"Program to run {when}, with its arguments"),
        KeySpec(f"{hook}.timeout", _POSITIVE_SECONDS, 600, "Seconds until it is ended with all that it began"),
        KeySpec(f"{hook}.user", _USER, "root", "User to run it as"),
    )


_HOOK_KEYS = (
    *SELECTORS,
    *_hook_keys(POST_STOP, "after a stop"),
    KeySpec(
        f"{POST_STOP}.on_failure", one_of(WARN, STAY_DOWN), WARN, "After its failure a restart starts the server with a warning, or not"
    ),
    *_hook_keys(PRE_START, "before a start"),
)


def _hook_rule(value: object, place: KeyLocation) -> HookRule:
    reading, gathered = read_keys(value, _HOOK_KEYS, place), Gathered()
    given = reading.complete(_HOOK_KEYS)
    servers = gathered.read(take_selector, given, SELECTORS, place)
    hooks: dict[str, Any] = {}
    for hook in (POST_STOP, PRE_START):
        said = {name.partition(".")[2]: given[name] for name in given if name.startswith(f"{hook}.")}
        hooks[hook] = None if said["command"] is None else Hook(**said)
        if hooks[hook] is None and any(name.startswith(f"{hook}.") for name in reading.values):
            gathered.note(Mismatch(place.entry(hook).entry("command").key, f"is missing, expected {_PROGRAM.words}"))
    gathered.end()
    if not any(hooks.values()):
        raise Mismatch(place.key, f"has no hook, expected {POST_STOP}, {PRE_START} or both")
    return HookRule(servers, **hooks)


_HOOK_RULES = list_of_known(ValueType("a rule", _hook_rule, _HOOK_KEYS), "a list of rules", "a hook")
HOOKS = "hooks"
HOOK_KEYS = (
    KeySpec(HOOKS, _HOOK_RULES, (), "Programs to run after a stop and before a start; for each of the two the first match counts"),
)

#: Wings' keys, which count if ours are unset. Wings writes the second into its file, true by default.
WINGS_CRASH_KEYS = (
    KeySpec(f"{_OF_WINGS}.enabled", BOOLEAN, True, "Counts if `supervisor.enabled` is unset"),
    KeySpec(
        f"{_OF_WINGS}.detect_clean_exit_as_crash",
        BOOLEAN,
        False,
        "Counts if `supervisor.clean_exit` is unset; true: restart, false: leave",
        "clean_exit_is_crash",
    ),
)


_ID = whole_number(0, 2**32 - 2)
#: Linux numbers processes below this; the engine's runtime accepts no higher limit.
_MOST_PIDS = 4_194_304
#: The kernel allows no more, and fs.nr_open usually allows a thousandth.
_MOST_FILES = 2**30

REGISTRY_KEYS = (
    KeySpec("username", TEXT, "", "User name"),
    KeySpec("password", TEXT, "", "Password or token", secret=True),
)

_PRIORITIES = map_of(whole_number(-MOST), "a map of names or UUIDs of servers to whole numbers")
_OURS = (
    KeySpec("wings_config", ABSOLUTE_PATH, None, "Settings file of Wings, for all keys that are unset here"),
    KeySpec("system.definitions", ABSOLUTE_PATH, "/etc/fleet-power/servers", "Directory of definitions"),
    KeySpec("system.lock_directory", ABSOLUTE_PATH, "/run/fleet-power", "Directory of locks"),
    KeySpec("system.state_directory", ABSOLUTE_PATH, "/var/lib/fleet-power", "Journal, counts of kills, kept definitions"),
    KeySpec("system.data", ABSOLUTE_PATH, "/var/lib/fleet-power/volumes", "Data directories of the servers"),
    KeySpec("system.group", FILLED_TEXT, "fleet-power", "Group of lock and state directory"),
    KeySpec("system.stop_timeout", SECONDS, 600, "Seconds from a stop to SIGKILL, unless the definition has them"),
    KeySpec("system.startup_window", SECONDS, 900, "Seconds until a server without its readiness line counts as running"),
    KeySpec("system.disk_check_timeout", _POSITIVE_SECONDS, 600, "Seconds that the walk through a data directory may take"),
    KeySpec("system.disk_check_entries", whole_number(1), 10_000_000, "Files and directories in a data directory, at most"),
    KeySpec("system.priorities", _PRIORITIES, {}, "Place of servers in `in_order`; overrides definitions; the lowest starts first"),
    KeySpec("system.allow_wings", BOOLEAN, False, "Act while Wings runs on the node"),
    KeySpec("system.config_errors", one_of("fail", "warn"), "fail", "Whether a configuration file with an error ends the start"),
    KeySpec("docker.host", FILLED_TEXT, None, "Address of the engine, unless the task or DOCKER_HOST has it"),
    KeySpec("docker.pull", one_of("missing", "always", "never"), "missing", "When to pull an image"),
    KeySpec("docker.recreate", one_of("changed", "always"), "changed", "When to make a new container"),
    KeySpec("docker.nofile", whole_number(64, _MOST_FILES), None, "Open files of each process in a container; empty: the engine's limit"),
    KeySpec("remote_query.allow_stale", BOOLEAN, False, "Use kept definitions while the Panel does not answer"),
    KeySpec("endpoint.url", FILLED_TEXT, None, "HTTP endpoint to act through"),
    KeySpec("endpoint.token", TEXT, None, "Token of the endpoint", secret=True),
)

_SYSTEM = (
    KeySpec(
        "system.username", FILLED_TEXT, "pterodactyl", "Owner of the data without `system.user`. No such user: 988 for root, else yourself"
    ),
    KeySpec("system.user.uid", _ID, None, "Owner of the data and user of the containers; unset: `system.username`"),
    KeySpec("system.user.gid", _ID, None, "Group of the data and of the containers"),
    KeySpec("system.user.rootless.enabled", BOOLEAN, False, "The engine is rootless; data belongs to the acting user", "rootless"),
    KeySpec("system.user.rootless.container_uid", _ID, 0, "User in containers of a rootless engine"),
    KeySpec("system.user.rootless.container_gid", _ID, 0, "Group in containers of a rootless engine"),
    KeySpec("system.timezone", TIMEZONE, None, "`TZ` of the containers; unset: the node's own, else UTC"),
    KeySpec("system.check_permissions_on_boot", BOOLEAN, True, "Set the owner of all data before a start"),
    KeySpec("allowed_mounts", list_of(ABSOLUTE_PATH, "a list of paths"), (), "Directories that definitions may mount"),
    KeySpec("app_name", TEXT, "Pterodactyl", "Name of the application"),
)

_PANEL = (
    KeySpec("remote", TEXT, "", "Base URL of the Panel; empty: no Panel"),
    KeySpec("token_id", TEXT, "", "First half of the node's token"),
    KeySpec("token", TEXT, "", "Second half of the node's token", secret=True),
    KeySpec("remote_query.timeout", SECONDS, 30, "Timeout of requests to the Panel, in seconds", "remote_timeout"),
    KeySpec("remote_query.boot_servers_per_page", whole_number(1, 1000), 50, "Servers in a page of the Panel's list", "remote_per_page"),
)

_API = (
    KeySpec("api.host", FILLED_TEXT, "127.0.0.1", "Address of the HTTP shim"),
    KeySpec("api.port", whole_number(0, 65535), 8080, "Port of the HTTP shim; 0: any free port"),
    KeySpec("api.ssl.enabled", BOOLEAN, False, "Use TLS"),
    KeySpec("api.ssl.cert", TEXT, "", "Certificate with its chain, as PEM"),
    KeySpec("api.ssl.key", TEXT, "", "Private key, as PEM"),
    KeySpec("api.trusted_proxies", list_of(NETWORK, "a list of networks"), (), "Proxies whose `X-Forwarded-For` counts"),
    KeySpec("api.max_connections", whole_number(1), 8192, "Open connections, at most"),
    KeySpec("api.request_timeout", whole_number(1, 3600), 10, "Seconds for the head of a request, and for its body"),
    KeySpec("api.shutdown_timeout", whole_number(0, 3600), 60, "Seconds for running actions when the shim ends"),
    KeySpec("api.show_environment", BOOLEAN, False, "Show environments with their secrets, as Wings does", "api_environment"),
    KeySpec("allowed_origins", list_of(TEXT, "a list of text"), (), "Origins of browsers besides `remote`; `*`: any"),
    KeySpec("allow_cors_private_network", BOOLEAN, False, "Allow browsers to come from a public page"),
)

_NETWORK = (
    KeySpec("docker.network.interface", ADDRESS, "172.18.0.1", "Address to publish instead of 127.0.0.1"),
    KeySpec("docker.network.dns", list_of(ADDRESS, "a list of IP addresses"), ("1.1.1.1", "1.0.0.1"), "Name servers"),
    KeySpec("docker.network.name", FILLED_TEXT, "pterodactyl_nw", "Network to create if it is missing"),
    KeySpec("docker.network.driver", FILLED_TEXT, "bridge", "Driver of the network"),
    KeySpec("docker.network.network_mode", FILLED_TEXT, "pterodactyl_nw", "Network of the containers"),
    KeySpec("docker.network.ispn", BOOLEAN, False, "Do not publish ports of 127.0.0.1"),
    KeySpec("docker.network.is_internal", BOOLEAN, False, "The network has no way out"),
    KeySpec("docker.network.enable_icc", BOOLEAN, True, "Containers reach each other"),
    KeySpec("docker.network.network_mtu", whole_number(68, 65535), 1500, "MTU of the network"),
    KeySpec(
        "docker.network.interfaces.v4.subnet", NETWORK, "172.18.0.0/16", "IPv4 network; empty: the engine's choice", "network_v4_subnet"
    ),
    KeySpec("docker.network.interfaces.v4.gateway", OPTIONAL_ADDRESS, "172.18.0.1", "IPv4 gateway", "network_v4_gateway"),
    KeySpec("docker.network.interfaces.v6.subnet", NETWORK, "fdba:17c8:6c94::/64", "IPv6 network; empty: none", "network_v6_subnet"),
    KeySpec("docker.network.interfaces.v6.gateway", OPTIONAL_ADDRESS, "fdba:17c8:6c94::1011", "IPv6 gateway", "network_v6_gateway"),
)

_LOG_TYPE, _LOG_CONFIG = "docker.log_config.type", "docker.log_config.config"
#: The engine's own defaults of the two drivers.
LOG_USUAL = {
    "local": {"max-size": "20m", "max-file": "5", "compress": "true"},
    "json-file": {"max-size": "", "max-file": "1", "compress": "false"},
}
_LOG_OPTIONS = map_of(SCALAR_TEXT, "a map of text")
_LOG_DEFAULT = {"max-size": "5m", "max-file": "1", "compress": "false", "mode": "non-blocking"}
_REGISTRIES = map_of(record(REGISTRY_KEYS, "a registry"), "a map of registries")
_CONTAINER = (
    KeySpec("docker.domainname", TEXT, "", "Domain name of the containers"),
    KeySpec("docker.userns_mode", TEXT, "", "User namespace of the containers"),
    KeySpec(
        "docker.registries",
        _REGISTRIES,
        {},
        "Credentials by start of the image name, in whole parts (`/`, `:`, `@`); the longest counts",
        secret=True,
    ),
    KeySpec("docker.tmpfs_size", whole_number(0), 100, "Size of `/tmp` in MB"),
    KeySpec("docker.container_pid_limit", whole_number(-1, _MOST_PIDS), 512, "Threads of a container; 0, -1: unlimited"),
    KeySpec("docker.overhead.override", BOOLEAN, False, "Use the next keys, not the factors 1.15 (to 2048 MB), 1.10 (to 4096 MB), 1.05"),
    KeySpec("docker.overhead.default_multiplier", FACTOR, 1.05, "Memory for each MB of the limit"),
    KeySpec("docker.overhead.multipliers", MULTIPLIERS, (), "Memory for each MB, for limits up to the key"),
    KeySpec(_LOG_TYPE, TEXT, "local", "Log driver; empty: the engine's", "log_type"),
    KeySpec(_LOG_CONFIG, _LOG_OPTIONS, _LOG_DEFAULT, "Options of local and json-file; one file needs `compress: false`", "log_config"),
)


def _require_log(values: Mapping[str, Any]) -> None:
    if values[_LOG_TYPE] not in LOG_USUAL:
        return
    config = {**LOG_USUAL[values[_LOG_TYPE]], **values[_LOG_CONFIG]}
    files, compress = config["max-file"], config["compress"]
    if not re.fullmatch(r"[0-9]{1,9}", files) or int(files) < 1:
        raise Mismatch(_LOG_CONFIG, "must have a max-file of 1 or more")
    if compress not in ("true", "false"):
        raise Mismatch(_LOG_CONFIG, "must have true or false as compress")
    if compress == "true" and (int(files) == 1 or not config["max-size"]):
        raise Mismatch(_LOG_CONFIG, "compresses a single file, which no engine starts; add compress: false, or max-size and max-file")


#: The engine creates such a container and then refuses its start, after the stop of a restart.
LOG_BEGINS = Check((_LOG_TYPE, _LOG_CONFIG), _require_log)

_UNUSED = tuple(
    KeySpec(name, ANYTHING, None, "Wings' own", used=False)
    for name in (
        "debug",
        "uuid",
        "remote_query.custom_headers",
        "api.upload_limit",
        "api.disable_remote_download",
        "system.root_directory",
        "system.log_directory",
        "system.archive_directory",
        "system.backup_directory",
        "system.tmp_directory",
        "system.passwd",
        "system.machine_id",
        "system.disk_check_interval",
        "system.activity_send_interval",
        "system.activity_send_count",
        "system.enable_log_rotate",
        "system.websocket_log_count",
        "system.sftp",
        "system.crash_detection.timeout",
        "system.crash_detection_activity_lines",
        "system.backups",
        "system.transfers",
        "system.openat_mode",
        "docker.installer_limits",
        "docker.use_performant_inspect",
        "throttles",
        "ignore_panel_config_updates",
    )
)

KEYS = (
    *_OURS,
    *SUPERVISOR_KEYS,
    *HEALTH_KEYS,
    *REVERT_KEYS,
    *HOOK_KEYS,
    *GAME_KEYS,
    *EVENT_KEYS,
    *_SYSTEM,
    *WINGS_CRASH_KEYS,
    *_PANEL,
    *_API,
    *_NETWORK,
    *_CONTAINER,
    *_UNUSED,
)
