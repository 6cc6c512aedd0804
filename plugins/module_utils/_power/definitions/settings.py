# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's settings: our file over Wings' file over the defaults. `settings_keys` has the keys and their defaults."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..host.machine import node_timezone
from ..model.errors import SettingsInvalid, T
from ..model.records import dataclass, field, fields
from ..model.schema import Check, KeyLocation, KeySpec, Mismatch, ReadValues, read_keys
from .definition_text import placing, yaml_fault, yaml_library
from .game_keys import PROFILES_EXIST, GameProfile, GameRule
from .health_keys import HealthRule, RevertRule
from .receiver_keys import ReceiverRule
from .rules import SELECTING, TRUSTED_SELECTORS, require_trusted_selectors, selectors_of
from .selectors import ServerSelector
from .settings_keys import HOOKS, KEYS, LOG_BEGINS, LOG_USUAL, HookRule, SupervisorRule

DEFAULT_PATH = "/etc/fleet-power/config.yml"

#: Owner of data in Wings' own container image; role ``node`` gives it to the user it creates.
_WINGS_ID = 988
_LARGEST_FILE = 1024 * 1024
_DEEPEST = 64


@dataclass(frozen=True)
class Settings:
    """The resolved settings. Paths begin with /, times are in seconds; `KEYS` describes the keys."""

    wings_config: str | None
    definitions: str
    lock_directory: str
    state_directory: str
    data: str
    group: str
    stop_timeout: int
    startup_window: int
    disk_check_timeout: int
    disk_check_entries: int
    priorities: Mapping[str, int]
    allow_wings: bool
    config_errors: str
    docker_host: str | None
    pull: str
    recreate: str
    nofile: int | None
    allow_stale: bool
    endpoint_url: str | None
    endpoint_token: str | None = field(repr=False)
    #: `supervision.policy_of` combines these with two keys of Wings, which count if the first two are None.
    supervisor_enabled: bool | None
    supervisor_clean_exit: str | None
    supervisor_max_restarts: int
    supervisor_reset_after: int
    supervisor_restart_unhealthy: bool
    supervisor_unhealthy_stop_timeout: int
    supervisor_rules: tuple[SupervisorRule, ...]
    healthchecks: tuple[HealthRule, ...]
    #: `revert_policy` combines these with the request and a key of the definition.
    revert_on_failed_start: str
    revert_settle: int
    revert_rules: tuple[RevertRule, ...]
    hooks: tuple[HookRule, ...]
    #: Only profiles of the settings; `game_keys.profile_named` adds built-in ones.
    game_profiles: Mapping[str, GameProfile]
    game_rules: tuple[GameRule, ...]
    #: The node's name in events; None: its host name.
    event_node: str | None
    event_receivers: tuple[ReceiverRule, ...]
    crash_detection_enabled: bool
    clean_exit_is_crash: bool
    username: str
    uid: int
    gid: int
    rootless: bool
    container_uid: int
    container_gid: int
    timezone: str
    check_permissions_on_boot: bool
    allowed_mounts: tuple[str, ...]
    app_name: str
    remote: str
    token_id: str
    token: str = field(repr=False)
    remote_timeout: int
    remote_per_page: int
    api_host: str
    api_port: int
    api_ssl_enabled: bool
    api_ssl_cert: str
    api_ssl_key: str
    api_trusted_proxies: tuple[str, ...]
    api_max_connections: int
    api_request_timeout: int
    api_shutdown_timeout: int
    api_environment: bool
    allowed_origins: tuple[str, ...]
    allow_cors_private_network: bool
    network_interface: str
    network_dns: tuple[str, ...]
    network_name: str
    network_driver: str
    network_mode: str
    network_ispn: bool
    network_is_internal: bool
    network_enable_icc: bool
    network_mtu: int
    network_v4_subnet: str
    network_v4_gateway: str
    network_v6_subnet: str
    network_v6_gateway: str
    domainname: str
    userns_mode: str
    registries: Mapping[str, Mapping[str, str]] = field(repr=False)
    tmpfs_size: int
    container_pid_limit: int
    overhead_override: bool
    overhead_default_multiplier: float
    overhead_multipliers: tuple[tuple[int, float], ...]
    log_type: str
    log_config: Mapping[str, str]
    warnings: tuple[str, ...]

    @property
    def record_directories(self) -> tuple[str, str]:
        """The directories of the services' records. Earlier versions have theirs in the state directory."""
        return self.lock_directory, self.state_directory


_FIELDS = frozenset(each.name for each in fields(Settings))
_RULES = {key.name: key for key in KEYS if key.name in SELECTING}


def field_of(key: KeySpec) -> str:
    """Return the field of `Settings` for a used key: its own ``field``, else the longest end of its name that is one."""
    parts = key.name.split(".")
    return key.field or next(end for start in range(len(parts)) if (end := "_".join(parts[start:])) in _FIELDS)


def selectors_in(settings: Settings) -> dict[str, ServerSelector]:
    """Return the selector of each rule, by its place, for example ``hooks[0]``."""
    return selectors_of({name: getattr(settings, field_of(key)) for name, key in _RULES.items()})


def load_settings(path: str | None = None) -> Settings:
    """Read the settings file ``path``, which must exist; None: the default file, if it exists.

    Raises `SettingsInvalid` with file, key, value and expected type, and `MissingLibrary` if a file needs PyYAML.
    """
    if path is None and not os.path.lexists(DEFAULT_PATH):
        return parse_settings({}, where=DEFAULT_PATH)
    where = DEFAULT_PATH if path is None else path
    return parse_settings(_read_file(where), where=where)


def parse_settings(raw: object, *, where: str) -> Settings:
    """Return the settings of a document and of the Wings file it names; ``where`` names it in errors. Raises as `load_settings`."""
    ours = _read(raw, where)
    wings_path = ours.values.get("wings_config")
    # Wings may have keys we do not know: they are no fault. It cannot name another file. The Panel can write it, so it has no hooks.
    wings = _wings(wings_path, where) if wings_path else {}
    given = {**wings, HOOKS: (), **ours.values}
    by_key = {key.name: given.get(key.name, key.default) for key in KEYS}
    if wings_path:
        _or_refuse(where, lambda: require_trusted_selectors(by_key))
    values = {field_of(key): by_key[key.name] for key in KEYS if key.used}
    values["wings_config"] = wings_path
    values["uid"], values["gid"] = _owner(values)
    values["timezone"] = values["timezone"] or node_timezone(os.environ)
    if "docker.log_config.config" not in given and values["log_type"] not in LOG_USUAL:
        values["log_config"] = {}
    warnings = (f"settings {where}: unknown keys ignored: {', '.join(ours.unknown)}",) if ours.unknown else ()
    return Settings(**values, warnings=warnings)


def read_settings(raw: object, place: KeyLocation | None = None, checks: Sequence[Check] = ()) -> ReadValues:
    """Read one document by the table and ``checks``; ``place`` collects unknown keys. Raises `Mismatch` with every fault."""
    return read_keys({} if raw is None else raw, KEYS, place, (PROFILES_EXIST, LOG_BEGINS, TRUSTED_SELECTORS, *checks))


def _wings(path: str, where: str) -> Mapping[str, Any]:
    try:
        return _read(_read_file(path), path).values
    except SettingsInvalid as error:
        raise SettingsInvalid(f"{error}; it is wings_config of {where}", **error.facts) from error


def _read(raw: object, where: str) -> ReadValues:
    return _or_refuse(where, lambda: read_settings(raw))


def _or_refuse(where: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except Mismatch as mismatch:
        raise SettingsInvalid(f"Cannot read settings {where}: {mismatch}", where=where, key=mismatch.key) from None


def _owner(values: Mapping[str, Any]) -> tuple[int, int]:
    """Owner and group of data: as set, else Wings' user, else Wings' numbers for root, or this process's for others."""
    uid, gid = values["uid"], values["gid"]
    found = _unset_owner(values["username"], values["rootless"]) if uid is None else (uid, _group_of(uid))
    return found[0], found[1] if gid is None else gid


def _unset_owner(username: str, rootless: bool) -> tuple[int, int]:
    if rootless:
        return os.geteuid(), os.getegid()
    try:
        entry = pwd.getpwnam(username)
    except KeyError:
        return (_WINGS_ID, _WINGS_ID) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    return entry.pw_uid, entry.pw_gid


def _group_of(uid: int) -> int:
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return uid


def _read_file(path: str) -> object:
    """Errors never quote the file, because it has tokens."""
    text = _read_text(path)
    yaml, base = yaml_library(f"read settings {path}")
    loader = placing(base)
    try:
        _refuse_depth(yaml.parse(text, loader), path)
        return yaml.load(text, loader)
    except yaml.YAMLError as error:
        raise SettingsInvalid(f"Cannot read settings {path}: {yaml_fault(error, text)}", where=path) from None


def _refuse_depth(events: Iterable[Any], path: str) -> None:
    """Refuse a deeply nested document before it is built: some releases of libyaml crash on one."""
    depth = 0
    for event in events:
        name = type(event).__name__
        depth += name.endswith(("SequenceStartEvent", "MappingStartEvent"))
        depth -= name.endswith(("SequenceEndEvent", "MappingEndEvent"))
        if depth > _DEEPEST:
            raise SettingsInvalid(f"Cannot read settings {path}: it is nested too deeply in line {event.start_mark.line + 1}", where=path)


def _read_text(path: str) -> str:
    try:
        # A named pipe would block without end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise SettingsInvalid(f"Cannot read settings {path}: it is not a regular file", where=path)
        with open(path, "rb") as file:
            text = file.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "not a path"
        advice = "; act as root or as a member of the group of the file" if isinstance(error, PermissionError) else ""
        raise SettingsInvalid(f"Cannot read settings {path}: {reason}{advice}", where=path) from error
    if len(text) > _LARGEST_FILE:
        raise SettingsInvalid(f"Cannot read settings {path}: it is larger than 1 MiB", where=path)
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsInvalid(f"Cannot read settings {path}: it is not UTF-8 text (byte {error.start})", where=path) from None
