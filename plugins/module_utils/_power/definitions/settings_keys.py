# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of the node's settings: Wings' where the concept is Wings', and ours, with their defaults.

Every key of Wings' file is here, used or not. A value of Wings' own file counts where ours does not give the key (``wings_config``).
"""

from __future__ import annotations

from ..model.schema import KeySpec
from .game_keys import GAME_KEYS
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
    list_of,
    map_of,
    one_of,
    record,
    whole_number,
)
from .receiver_keys import EVENT_KEYS
from .stop_way import LONGEST_STOP_SECONDS
from .supervisor_keys import SUPERVISOR_KEYS, WINGS_CRASH_KEYS

_ID = whole_number(0, 2**32 - 2)
#: Linux numbers processes below this; the engine's runtime cannot set a higher limit.
_MOST_PIDS = 4_194_304

REGISTRY_KEYS = (
    KeySpec("username", TEXT, "", "User name"),
    KeySpec("password", TEXT, "", "Password or token", secret=True),
)

_OURS = (
    KeySpec("wings_config", ABSOLUTE_PATH, None, "Wings' own file, whose values count where this one has none", "wings_config"),
    KeySpec("system.definitions", ABSOLUTE_PATH, "/etc/fleet-power/servers", "Directory of definitions, one file a server", "definitions"),
    KeySpec("system.lock_directory", ABSOLUTE_PATH, "/run/fleet-power", "Locks, with who holds them", "lock_directory"),
    KeySpec(
        "system.state_directory", ABSOLUTE_PATH, "/var/lib/fleet-power", "Journal, kill generations, kept definitions", "state_directory"
    ),
    KeySpec("system.data", ABSOLUTE_PATH, "/var/lib/fleet-power/volumes", "Data directories of the servers, named by uuid", "data"),
    KeySpec(
        "system.group", FILLED_TEXT, "fleet-power", "Group of lock and state directory; its members are as powerful as docker's", "group"
    ),
    KeySpec("system.stop_timeout", SECONDS, 600, "Seconds from a stop to SIGKILL where the definition names none", "stop_timeout"),
    KeySpec("system.startup_window", SECONDS, 900, "Seconds after which a server without its readiness line is running", "startup_window"),
    KeySpec(
        "system.disk_check_timeout",
        whole_number(1, LONGEST_STOP_SECONDS, "a whole number of seconds"),
        600,
        "Seconds that a look through a server's data directory may take",
        "disk_check_timeout",
    ),
    KeySpec(
        "system.disk_check_entries",
        whole_number(1),
        10_000_000,
        "Files and directories that it may meet",
        "disk_check_entries",
    ),
    KeySpec(
        "system.priorities",
        map_of(whole_number(-MOST), "a map of names or UUIDs of servers to whole numbers"),
        {},
        "Where `in_order` puts servers, before what their definitions say: a lower one starts first and stops last",
        "priorities",
    ),
    KeySpec("system.allow_wings", BOOLEAN, False, "Act although a Wings daemon is alive on the node", "allow_wings"),
    KeySpec(
        "system.config_errors",
        one_of("fail", "warn"),
        "fail",
        "A configuration file that cannot be edited ends the boot, or not",
        "config_errors",
    ),
    KeySpec("docker.host", FILLED_TEXT, None, "The engine, where neither the task nor DOCKER_HOST names it", "docker_host"),
    KeySpec("docker.pull", one_of("missing", "always", "never"), "missing", "When an image is pulled", "pull"),
    KeySpec("docker.recreate", one_of("changed", "always"), "changed", "When a container is made anew", "recreate"),
    KeySpec(
        "remote_query.allow_stale", BOOLEAN, False, "Start from the definition last seen when the Panel cannot be reached", "allow_stale"
    ),
    KeySpec("endpoint.url", FILLED_TEXT, None, "Act through this HTTP endpoint", "endpoint_url"),
    KeySpec("endpoint.token", TEXT, None, "Its token", "endpoint_token", secret=True),
)

_SYSTEM = (
    KeySpec(
        "system.username",
        FILLED_TEXT,
        "pterodactyl",
        "Owner of the data where `system.user` is unset; no such user: 988, or oneself",
        "username",
    ),
    KeySpec(
        "system.user.uid",
        _ID,
        None,
        "Owner of the data, user of the containers; unset: see `system.username`",
        "uid",
    ),
    KeySpec("system.user.gid", _ID, None, "Group of the data and of the containers", "gid"),
    KeySpec("system.user.rootless.enabled", BOOLEAN, False, "The engine is rootless: data belongs to oneself", "rootless"),
    KeySpec("system.user.rootless.container_uid", _ID, 0, "User within the containers of a rootless engine", "container_uid"),
    KeySpec("system.user.rootless.container_gid", _ID, 0, "Group within the containers of a rootless engine", "container_gid"),
    KeySpec("system.timezone", TIMEZONE, None, "`TZ` of the containers; unset: the node's own, else UTC", "timezone"),
    KeySpec(
        "system.check_permissions_on_boot",
        BOOLEAN,
        True,
        "Set the owner of all data before a start",
        "check_permissions_on_boot",
    ),
    KeySpec(
        "allowed_mounts", list_of(ABSOLUTE_PATH, "a list of paths"), (), "Directories below which definitions may mount", "allowed_mounts"
    ),
    KeySpec("app_name", TEXT, "Pterodactyl", "Name of the application", "app_name"),
)

_PANEL = (
    KeySpec("remote", TEXT, "", "Base URL of the Panel; empty: no Panel", "remote"),
    KeySpec("token_id", TEXT, "", "First half of the node's token", "token_id"),
    KeySpec("token", TEXT, "", "Second half of the node's token", "token", secret=True),
    KeySpec("remote_query.timeout", SECONDS, 30, "Seconds a request to the Panel may take", "remote_timeout"),
    KeySpec("remote_query.boot_servers_per_page", whole_number(1, 1000), 50, "Servers a page of the Panel's list", "remote_per_page"),
)

_API = (
    KeySpec("api.host", FILLED_TEXT, "127.0.0.1", "Address that the HTTP face listens on", "api_host"),
    KeySpec("api.port", whole_number(0, 65535), 8080, "Its port; 0: any that is free", "api_port"),
    KeySpec("api.ssl.enabled", BOOLEAN, False, "It speaks TLS", "api_ssl_enabled"),
    KeySpec("api.ssl.cert", TEXT, "", "Certificate, with what it was signed by, as PEM", "api_ssl_cert"),
    KeySpec("api.ssl.key", TEXT, "", "Its private key, as PEM", "api_ssl_key"),
    KeySpec(
        "api.trusted_proxies", list_of(NETWORK, "a list of networks"), (), "Whose `X-Forwarded-For` is believed", "api_trusted_proxies"
    ),
    KeySpec("api.max_connections", whole_number(1), 8192, "Connections at once; who comes beyond is hung up on", "api_max_connections"),
    KeySpec(
        "api.request_timeout", whole_number(1, 3600), 10, "Seconds for a request's head to come in, and for its body", "api_request_timeout"
    ),
    KeySpec(
        "api.shutdown_timeout", whole_number(0, 3600), 60, "Seconds that actions under way are given when it ends", "api_shutdown_timeout"
    ),
    KeySpec(
        "api.show_environment", BOOLEAN, False, "Show servers with their environment, secrets included, as Wings does", "api_environment"
    ),
    KeySpec("allowed_origins", list_of(TEXT, "a list of text"), (), "Origins of browsers beside `remote`; `*`: any", "allowed_origins"),
    KeySpec(
        "allow_cors_private_network", BOOLEAN, False, "Tell browsers that they may come from a public page", "allow_cors_private_network"
    ),
)

_NETWORK = (
    KeySpec("docker.network.interface", ADDRESS, "172.18.0.1", "Published instead of 127.0.0.1", "network_interface"),
    KeySpec("docker.network.dns", list_of(ADDRESS, "a list of IP addresses"), ("1.1.1.1", "1.0.0.1"), "Name servers", "network_dns"),
    KeySpec("docker.network.name", FILLED_TEXT, "pterodactyl_nw", "Network that is created if it is missing", "network_name"),
    KeySpec("docker.network.driver", FILLED_TEXT, "bridge", "Its driver", "network_driver"),
    KeySpec("docker.network.network_mode", FILLED_TEXT, "pterodactyl_nw", "Network the containers are in", "network_mode"),
    KeySpec("docker.network.ispn", BOOLEAN, False, "Do not publish ports of 127.0.0.1", "network_ispn"),
    KeySpec("docker.network.is_internal", BOOLEAN, False, "No way out of the network", "network_is_internal"),
    KeySpec("docker.network.enable_icc", BOOLEAN, True, "Containers reach each other", "network_enable_icc"),
    KeySpec("docker.network.network_mtu", whole_number(68, 65535), 1500, "Its MTU", "network_mtu"),
    KeySpec(
        "docker.network.interfaces.v4.subnet",
        NETWORK,
        "172.18.0.0/16",
        "IPv4; empty: the engine's choice",
        "network_v4_subnet",
    ),
    KeySpec("docker.network.interfaces.v4.gateway", OPTIONAL_ADDRESS, "172.18.0.1", "Its IPv4 gateway", "network_v4_gateway"),
    KeySpec("docker.network.interfaces.v6.subnet", NETWORK, "fdba:17c8:6c94::/64", "IPv6; empty: none", "network_v6_subnet"),
    KeySpec("docker.network.interfaces.v6.gateway", OPTIONAL_ADDRESS, "fdba:17c8:6c94::1011", "Its IPv6 gateway", "network_v6_gateway"),
)

_LOG_DEFAULT = {"max-size": "5m", "max-file": "1", "compress": "false", "mode": "non-blocking"}
_REGISTRIES = map_of(record(REGISTRY_KEYS, "a registry"), "a map of registries")
_CONTAINER = (
    KeySpec("docker.domainname", TEXT, "", "Domain name of the containers", "domainname"),
    KeySpec("docker.userns_mode", TEXT, "", "User namespace of the containers", "userns_mode"),
    KeySpec(
        "docker.registries",
        _REGISTRIES,
        {},
        "Credentials by longest beginning of an image's name, in whole parts: up to a `/`, the `:` of a tag, `@` or its end",
        "registries",
        secret=True,
    ),
    KeySpec("docker.tmpfs_size", whole_number(0), 100, "Size of `/tmp` in MB", "tmpfs_size"),
    KeySpec(
        "docker.container_pid_limit",
        whole_number(-1, _MOST_PIDS),
        512,
        "Threads of a container; 0, -1: unlimited",
        "container_pid_limit",
    ),
    KeySpec(
        "docker.overhead.override",
        BOOLEAN,
        False,
        "Use the two keys below, not 1.15 (2048), 1.10 (4096), 1.05",
        "overhead_override",
    ),
    KeySpec("docker.overhead.default_multiplier", FACTOR, 1.05, "Memory given for each MB of the limit", "overhead_default_multiplier"),
    KeySpec(
        "docker.overhead.multipliers", MULTIPLIERS, (), "The same by limit: the smallest one not below it counts", "overhead_multipliers"
    ),
    KeySpec("docker.log_config.type", TEXT, "local", "Log driver; empty: the engine's", "log_type"),
    KeySpec(
        "docker.log_config.config",
        map_of(SCALAR_TEXT, "a map of text"),
        _LOG_DEFAULT,
        "Its options; for local, json-file",
        "log_config",
    ),
)

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

#: Every key of the settings, in the order of the documentation.
KEYS = (*_OURS, *SUPERVISOR_KEYS, *GAME_KEYS, *EVENT_KEYS, *_SYSTEM, *WINGS_CRASH_KEYS, *_PANEL, *_API, *_NETWORK, *_CONTAINER, *_UNUSED)
