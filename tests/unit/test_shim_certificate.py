# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificate of the HTTP face: whoever connects is given one with its key, whatever happens to the files meanwhile."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.shim_settings import load_certificate, tls_context
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import Settings, parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import SettingsInvalid
from ansible_collections.fleet.power.tests.unit.tls_support import self_signed

Pair = tuple[bytes, bytes]


def pair_of(directory: Path, name: str) -> Pair:
    cert, key = self_signed(directory, name)
    return cert.read_bytes(), key.read_bytes()


def put(settings: Settings, cert: bytes, key: bytes) -> None:
    Path(settings.api_ssl_cert).write_bytes(cert)
    Path(settings.api_ssl_key).write_bytes(key)


@pytest.fixture(name="settings")
def of_files(tmp_path: Path) -> Settings:
    ssl_settings = {"enabled": True, "cert": str(tmp_path / "used.crt"), "key": str(tmp_path / "used.key")}
    return parse_settings({"api": {"ssl": ssl_settings}}, where="a test")


@contextlib.contextmanager
def again_and_again(*steps: Callable[[], None]) -> Iterator[None]:
    """Do each in a thread of its own until all is over; that the files do not belong together just now is no fault."""
    over = threading.Event()

    def repeat(step: Callable[[], None]) -> None:
        while not over.is_set():
            with contextlib.suppress(SettingsInvalid):
                step()

    threads = [threading.Thread(target=repeat, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def given_to_a_client(context: ssl.SSLContext, name: str | None = None, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """What a client is given: both ends of a connection are here."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode, trusting.maximum_version = False, ssl.CERT_NONE, newest
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server, server_hostname=name)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    while waiting:
        for end in list(waiting):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
                waiting.remove(end)
    return client.getpeercert(binary_form=True) or b""


@pytest.mark.parametrize("name", [None, "node.example.com"])
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_new_certificate_is_given_to_whoever_comes_next(
    tmp_path: Path, settings: Settings, name: str | None, newest: ssl.TLSVersion
) -> None:
    pairs = [pair_of(tmp_path, each) for each in ("first", "second", "third")]
    put(settings, *pairs[0])
    context = tls_context(settings)
    assert context is not None
    for cert, key in pairs:
        put(settings, cert, key)
        load_certificate(context, settings)
        assert given_to_a_client(context, name, newest) == ssl.PEM_cert_to_DER_cert(cert.decode())


def test_whoever_connects_while_the_files_are_replaced_is_given_a_whole_pair(tmp_path: Path, settings: Settings) -> None:
    first, second = pair_of(tmp_path, "first"), pair_of(tmp_path, "second")
    put(settings, *first)
    context = tls_context(settings)
    assert context is not None

    def replace() -> None:
        put(settings, *second)
        put(settings, *first)

    with again_and_again(replace, lambda: load_certificate(context, settings)):
        given = {given_to_a_client(context) for _unused in range(500)}
    assert given <= {ssl.PEM_cert_to_DER_cert(cert.decode()) for cert, _key in (first, second)}
