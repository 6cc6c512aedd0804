# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of the HTTP shim: the node's, with a token, from a file that others cannot read."""

from __future__ import annotations

import os
import ssl
from dataclasses import replace

from .._power.definitions.settings import Settings, load_settings
from .._power.model.errors import SettingsInvalid

_OTHERS = 0o007
#: Settings that only a new process can change.
FIXED = (
    *("api_host", "api_port", "api_ssl_enabled", "api_max_connections", "api_request_timeout"),
    *("lock_directory", "state_directory", "group", "docker_host"),
)


def load(path: str) -> Settings:
    """Read the settings. Raises `SettingsInvalid` (also without a token, or if others can read the file), `MissingLibrary`."""
    settings = load_settings(path)
    for file in (path, settings.wings_config):
        if file is not None:
            _require_private(file)
    if not settings.token.strip():
        raise SettingsInvalid(
            f"Cannot serve HTTP: {path} has no token; set token to a secret of your own, or name Wings' file in wings_config"
        )
    if settings.token != settings.token.strip() or not settings.token.isprintable():
        raise SettingsInvalid(
            f"Cannot serve HTTP: the token in {path} has control characters, or blanks at an end, which no request can bring; set another"
        )
    return settings


def marks(path: str, settings: Settings) -> tuple[tuple[int, int, int], ...]:
    """Return marks that change with the files of the settings; a missing file has a mark, too."""
    secured = (settings.api_ssl_cert, settings.api_ssl_key) if settings.api_ssl_enabled else ()
    return tuple(_mark(file) for file in (path, settings.wings_config, *secured) if file)


def applicable(old: Settings, new: Settings) -> tuple[Settings, list[str]]:
    """Return the new settings as far as they can apply now, and the names of those that need a new process."""
    changed = [name for name in FIXED if getattr(old, name) != getattr(new, name)]
    return replace(new, **{name: getattr(old, name) for name in changed}), changed


def load_certificate(context: ssl.SSLContext, settings: Settings) -> None:
    """Use the current certificate files for new connections. Raises `SettingsInvalid`. If key and certificate do not match, as in the
    middle of a replacement, a context in use would lose its certificate. So each new connection gets the newest context, through the SNI
    callback, which also runs without a name."""
    newest = tls_context(settings)
    context.sni_callback = lambda connection, _name, _first: setattr(connection, "context", newest)


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Return the TLS context with the certificate of the settings. Raises `SettingsInvalid`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A key with a password is unusable; the empty one prevents a prompt.
        context.load_cert_chain(settings.api_ssl_cert, settings.api_ssl_key, password="")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a certificate and its key"
        raise SettingsInvalid(
            f"Cannot serve HTTPS with api.ssl.cert {settings.api_ssl_cert} and api.ssl.key {settings.api_ssl_key}: {reason}"
        ) from error
    return context


def _require_private(path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise SettingsInvalid(f"Cannot read settings {path}: {error.strerror}") from error
    if mode & _OTHERS:
        raise SettingsInvalid(
            f"Cannot serve HTTP: the token is in {path}, which everybody may use (mode {mode & 0o777:04o}); chmod 0640 it"
        )


def _mark(path: str) -> tuple[int, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns
