# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to the engine: address, TLS, timeout, and the reasons why it cannot be reached."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from traceback import walk_tb
from typing import Any
from urllib.parse import urlsplit

from ..host.library_faults import certificate_fault, chain, compression_fault, refuse_negative_chunks
from ..model.errors import EngineError, EngineUnreachable, MissingLibrary, SettingsInvalid
from ..model.option import Option
from ..model.records import dataclass
from ..model.redaction import shown_host, without_user
from ..model.schema import joined, one_line, printable, values_in
from .engine_version import NEWEST_TESTED, OLDEST_API, OLDEST_RELEASE, EngineVersion, fault_of_api, is_api, numbers, release_in, spoken_api
from .sdk_fault import sdk_fault

DEFAULT_HOST = "unix:///var/run/docker.sock"
DEFAULT_TIMEOUT = 60
#: Seconds, at most a day: clocks and sockets cannot take arbitrary timeouts.
TIMEOUT = Option("int", least=1, most=86_400)
_SCHEMES = ("unix", "tcp", "http", "https", "ssh")
#: The status for a version that the engine does not speak.
_REFUSED = 400
_MIB = 1024 * 1024
#: Bytes of a whole answer, of an error, and of one value of a stream.
_LARGEST, _LARGEST_ERROR, _LARGEST_PART = 64 * _MIB, _MIB, 4 * _MIB
#: In a whole answer; each container of a node holds some hundred.
_MOST_VALUES = 1_000_000
_CHUNK = 64 * 1024
#: Functions of the libraries: an error inside them comes before the request, or before the first byte for a process.
_BEFORE_REQUEST = ("connect", "attach_socket")
_TRUE_WORDS = frozenset(("1", "true", "yes", "on"))


@dataclass(frozen=True)
class Sdk:
    """The parts of the Docker SDK and of requests that this collection uses."""

    client: Any
    tls_config: Any
    adapter: Any
    #: The classes of an error answer, of an unsupported version, and of all failures without an answer.
    api_error: Any
    version_error: Any
    transport_errors: Any


def load_sdk() -> Sdk:
    """Import the Docker SDK and requests. Raises `MissingLibrary`."""
    try:
        import docker.api
        import docker.errors
        import docker.tls
        import requests.adapters
        import requests.exceptions
        import urllib3.exceptions
    except ImportError as error:
        package = "requests" if (error.name or "").partition(".")[0] in ("requests", "urllib3") else "docker"
        raise MissingLibrary.of("talk to the engine", package, f"python3-{package}", error) from error
    return Sdk(
        client=docker.api.APIClient,
        tls_config=docker.tls.TLSConfig,
        adapter=requests.adapters.HTTPAdapter,
        api_error=docker.errors.APIError,
        version_error=docker.errors.InvalidVersion,
        transport_errors=(requests.exceptions.RequestException, urllib3.exceptions.HTTPError, docker.errors.DockerException, OSError),
    )


@dataclass(frozen=True)
class Connection:
    """The way to an engine. Fields have the names and meanings of community.docker's options; ``timeout`` is in seconds."""

    host: str = DEFAULT_HOST
    tls: bool = False
    validate_certs: bool = False
    ca_path: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    tls_hostname: str | None = None
    api_version: str | None = None
    timeout: int = DEFAULT_TIMEOUT

    def client(self, sdk: Sdk, version: str | None) -> Any:
        """Return a new low-level client. Without a ``version`` it asks the engine. Raises `MissingLibrary` for an unfit SDK."""
        with self._faults(sdk, version):
            return self._client(sdk, version or self._asked_version(sdk).spoken)

    def version(self, sdk: Sdk) -> EngineVersion:
        """Ask the engine for its version. Raises as `client`, and `EngineError` for an engine that is too old."""
        with self._faults(sdk):
            return self._asked_version(sdk)

    @contextlib.contextmanager
    def _faults(self, sdk: Sdk, version: str | None = None) -> Iterator[None]:
        if self.host.startswith("ssh://") and find_spec("paramiko") is None:
            raise MissingLibrary.of("talk to the engine by SSH", "paramiko", "python3-paramiko")
        fault = sdk_fault(on_socket=self.host.startswith(("unix://", "ssh://")))
        if fault:
            raise MissingLibrary(f"Cannot talk to the engine: {fault} for {sys.executable or 'Python'}", library="docker")
        try:
            yield
        except sdk.transport_errors as error:
            if version is not None and isinstance(error, sdk.version_error):
                known = f"Cannot use api_version={_quoted(version)}: the Docker SDK of this node does not speak it"
                raise SettingsInvalid(f"{known}; leave it out, or give one that it and the engine speak") from None
            raise self.unreachable("", error) from error

    def _client(self, sdk: Sdk, version: str) -> Any:
        client = sdk.client(base_url=self.host, version=version, timeout=self.timeout, tls=self._tls(sdk))
        _bound(client)
        if self.host.startswith("unix://"):
            _keep_to_one_connection(client)
        return client

    def _asked_version(self, sdk: Sdk) -> EngineVersion:
        with contextlib.closing(self._client(sdk, NEWEST_TESTED)) as client:
            # A tenth of the time of the SDK's own version call. A refused version has the same headers.
            ping = client.get(f"{client.base_url}/v{NEWEST_TESTED}/_ping", timeout=self.timeout)
            newest, oldest = ping.headers.get("Api-Version", ""), ""
            if is_api(newest) and numbers(newest) >= numbers(NEWEST_TESTED) and ping.status_code == _REFUSED:
                oldest = client.version(api_version=False).get("MinAPIVersion", "")
        if not is_api(newest):
            # A proxy in between may drop headers. The SDK knows an answer that is not an engine's.
            with contextlib.closing(self._client(sdk, "auto")) as client:
                newest = client.api_version
        fault = fault_of_api(newest)
        if fault:
            raise EngineError(f"Cannot use the engine at {shown_host(self.host)}: {fault}", no_effect=True)
        release = release_in(ping.headers.get("Server", ""))
        return EngineVersion(release, newest, self.api_version or spoken_api(newest, oldest))

    def is_answered(self, sdk: Sdk, seconds: float) -> bool:
        """Tell if the engine answers on a new connection within ``seconds``, with any answer."""
        with contextlib.suppress(EngineUnreachable, *sdk.transport_errors):
            with contextlib.closing(self.client(sdk, NEWEST_TESTED)) as client:
                client.get(f"{client.base_url}/_ping", timeout=seconds)
            return True
        return False

    def _tls(self, sdk: Sdk) -> Any:
        if not (self.tls or self.validate_certs):
            return False
        for name in ("ca_path", "client_cert", "client_key"):
            path = getattr(self, name)
            if path and not os.access(path, os.R_OK):
                raise SettingsInvalid(f"Cannot use {name}={path!r}: there is no such file, or it may not be read")
        certificate = (self.client_cert, self.client_key) if self.client_cert and self.client_key else None
        config = sdk.tls_config(client_cert=certificate, ca_cert=self.ca_path, verify=self.validate_certs)
        if self.tls_hostname is not None:
            config.configure_client = _configure_with_hostname(sdk, config.configure_client, self.tls_hostname)
        return config

    def unreachable(self, what: str, error: BaseException, seconds: float | None = None) -> EngineUnreachable:
        """Return the error for an engine without an answer, with the reason and a known fix.

        Its fact ``no_effect``: the call certainly had none.
        ``what`` is what failed; empty for the connection itself. ``seconds`` is the time limit if it differs from a call's.
        """
        reasons, shown, known = errnos(error), shown_host(self.host), known_fault(error, self.host)
        if errno.EACCES in reasons or errno.EPERM in reasons:
            why = "permission denied on its socket; become root, or join the group that owns the socket"
        elif errno.ENOENT in reasons:
            why = "its socket does not exist; check that the engine runs, and docker_host"
        elif known:
            why = known
        elif errno.ECONNREFUSED in reasons:
            why = "connection refused; check that the engine runs"
        elif any(isinstance(link, TimeoutError) or "timed out" in str(link).lower() for link in chain(error)):
            why = f"no answer within {self.timeout if seconds is None else seconds:.0f} s"
        else:
            why = one_line(without_user(str(error), self.host), 300)
        begin = f"{what}: the engine at {shown} cannot be reached" if what else f"Cannot reach the engine at {shown}"
        return EngineUnreachable(f"{begin}: {why}", no_effect=not what or is_before_request(error))


def _bound(client: Any) -> None:
    """Bound answers. The SDK gives attaches, events and pulls no timeout; here each gets the client's, which may change."""
    request = client.request
    client.request = lambda method, url, **options: request(method, url, **{**options, "timeout": options.get("timeout") or client.timeout})
    client.headers["Accept-Encoding"] = "identity"
    client.hooks["response"] += [_refuse_bombs, _read_whole]
    result, stream = client._result, client._stream_helper
    client._result = lambda response, json=False, binary=False: result(_checked(response, json), json=json, binary=binary)
    client._stream_helper = lambda response, decode=False: _parts(stream, response, decode)


def _refuse_bombs(response: Any, **_unused: Any) -> None:
    """Raise OSError for a compressed answer, and make a negative chunk size a transport error."""
    why = compression_fault(response.headers.get("Content-Encoding", ""))
    if why:
        raise OSError(why)
    refuse_negative_chunks(response.raw._fp)


def _read_whole(response: Any, stream: bool = False, **_unused: Any) -> None:
    """Read an answer, unless the caller streams a successful one. Raises OSError if it is too large."""
    is_error = response.status_code >= 300
    if response._content is not False or (stream and not is_error):
        return
    most, body = _LARGEST_ERROR if is_error else _LARGEST, bytearray()
    while chunk := response.raw.read(_CHUNK, decode_content=False):
        body += chunk
        if len(body) > most:
            response.close()
            raise OSError(f"its answer is larger than {most // _MIB} MiB")
    response._content, response._content_consumed = bytes(body), True


def _checked(response: Any, is_json: bool) -> Any:
    _read_whole(response)
    if is_json and values_in(response.content) > _MOST_VALUES:
        raise OSError(f"its answer holds more than {_MOST_VALUES} values")
    return response


def _parts(stream: Any, response: Any, decode: bool) -> Iterator[Any]:
    """Yield what the SDK's ``stream`` yields; OSError if a value is too long. The SDK keeps all chunks until they form a value."""
    raw, size = response.raw, 0
    if not raw._fp.chunked:
        yield from stream(response, decode)
        return

    def pieces() -> Iterator[Any]:
        nonlocal size
        while not raw.closed and (piece := raw.read(1)):
            if left := raw._fp.chunk_left:
                piece += raw.read(min(left, _CHUNK))
            size += len(piece)
            if decode and size > _LARGEST_PART:
                response.close()
                raise OSError(f"a part of its answer is larger than {_LARGEST_PART // _MIB} MiB")
            yield piece

    if not decode:
        yield from pieces()
        return
    from docker.utils.json_stream import json_stream

    for value in json_stream(pieces()):
        size = 0
        yield value


def _keep_to_one_connection(client: Any) -> None:
    """The SDK keeps one connection per request path, 25 a client, and looks up proxies and passwords each time."""
    client.trust_env = False
    base_url, adapter = client.base_url, client.get_adapter(client.base_url)
    connection_for = adapter.get_connection
    adapter.get_connection = lambda _url, proxies=None: connection_for(base_url, proxies)


def _configure_with_hostname(sdk: Sdk, configure: Any, hostname: str) -> Any:
    """Check the certificate against another host name: the SDK dropped this in version 7, but its transport still can."""

    class HostnameAdapter(sdk.adapter):  # type: ignore[name-defined,misc]
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, assert_hostname=hostname, **kwargs)

    def configure_client(client: Any) -> None:
        configure(client)
        client.mount("https://", HostnameAdapter())

    return configure_client


def connect(options: Mapping[str, Any], settings_host: str | None, variables: Mapping[str, str] | None = None) -> Connection:
    """Merge options over the ``DOCKER_*`` environment over the node's settings over the defaults.

    ``options`` are the module's engine options, None where not given. ``variables`` defaults to the process's environment. Raises
    `SettingsInvalid` for a bad address, version or timeout, and names its source.
    """
    environ = os.environ if variables is None else variables

    def value(option: str, variable: str) -> tuple[str, Any]:
        """Return the name of the option or variable that gives the value, and the value."""
        given = options.get(option)
        return (option, given) if given is not None else (variable, environ.get(variable) or None)

    def flag(option: str, variable: str) -> bool:
        given = options.get(option)
        return bool(given) if given is not None else environ.get(variable, "").lower() in _TRUE_WORDS

    directory = environ.get("DOCKER_CERT_PATH") or None

    def certificate(option: str, name: str) -> str | None:
        given = options.get(option)
        return given if given is not None else str(os.path.join(directory, name)) if directory else None

    whose, host = value("docker_host", "DOCKER_HOST")
    if not host:
        whose, host = "the setting docker.host", settings_host or DEFAULT_HOST
    return Connection(
        host=_host(whose, host),
        tls=flag("tls", "DOCKER_TLS"),
        validate_certs=flag("validate_certs", "DOCKER_TLS_VERIFY"),
        ca_path=certificate("ca_path", "ca.pem"),
        client_cert=certificate("client_cert", "cert.pem"),
        client_key=certificate("client_key", "key.pem"),
        tls_hostname=value("tls_hostname", "DOCKER_TLS_HOSTNAME")[1],
        api_version=_api_version(*value("api_version", "DOCKER_API_VERSION")),
        timeout=_timeout(*value("timeout", "DOCKER_TIMEOUT")),
    )


def _host(whose: str, host: str) -> str:
    fault = host_fault(host)
    if fault:
        raise SettingsInvalid(f"Cannot use {whose}={_quoted(shown_host(host))}: {fault}")
    return host


def host_fault(host: str) -> str:
    """Return the expected form of an engine address that cannot be used; empty for a good one."""
    scheme, found, rest = host.partition("://")
    if not (found and rest and scheme in _SCHEMES):
        return f"expected an address that begins with {joined([f'{scheme}://' for scheme in _SCHEMES])}"
    if scheme != "unix":
        # The SDK needs an address that Python can parse. Its error message may quote a password.
        port: int | None = 0
        with contextlib.suppress(ValueError):
            port = urlsplit(host).port
        if port == 0 or (port is None and scheme != "ssh"):
            return "expected a host, and a port from 1 to 65535"
    return ""


def _api_version(whose: str, version: str | None) -> str | None:
    if version is None or version == "auto":
        return None
    if not is_api(str(version)):
        raise SettingsInvalid(f"Cannot use {whose}={_quoted(str(version))}: expected auto, or a version such as 1.41 (in YAML in quotes)")
    if numbers(version) < numbers(OLDEST_API):
        oldest = f"{OLDEST_API}, that of Docker {OLDEST_RELEASE}, is the oldest supported"
        raise SettingsInvalid(f"Cannot use {whose}={_quoted(version)}: {oldest}")
    return version


def _timeout(whose: str, given: Any) -> int:
    if given is None:
        return DEFAULT_TIMEOUT
    seconds = 0
    with contextlib.suppress(ValueError):
        seconds = int(given)
    if not TIMEOUT.holds(seconds):
        raise SettingsInvalid(f"Cannot use {whose}={_quoted(str(given))}: expected a whole number of seconds {TIMEOUT.limit}")
    return seconds


def _quoted(text: str) -> str:
    return repr(printable(text))


def is_before_request(error: BaseException) -> bool:
    """Tell if the connection, its TLS handshake or the attach to a process failed: nothing was sent."""
    frames = (frame for link in chain(error) for frame, _line in walk_tb(link.__traceback__))
    return any(frame.f_code.co_name in _BEFORE_REQUEST for frame in frames)


def errnos(error: BaseException) -> set[int]:
    """Return the errno values in the chain, without TLS errors, which have numbers of their own."""
    import ssl

    links = (link for link in chain(error) if isinstance(link, OSError) and not isinstance(link, ssl.SSLError))
    return {link.errno for link in links if link.errno is not None}


def known_fault(error: BaseException, host: str) -> str:
    """Return the fault of an address, of TLS, or of a wrong service at the address; empty for other errors."""
    import socket
    import ssl

    links = chain(error)
    why = certificate_fault(links)
    if why:
        return f"its certificate cannot be verified ({why}); check ca_path and tls_hostname"
    for link in links:
        if isinstance(link, ssl.SSLError) and not isinstance(link, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return "it does not speak TLS as expected; check tls and the certificates"
        if isinstance(link, socket.gaierror):
            return "its name cannot be looked up; check docker_host"
    if errno.ECONNREFUSED in errnos(error) and not _may_be_socket(host):
        return "it is not a socket; check docker_host"
    if any(_is_of_no_engine(link) for link in links):
        return "no engine answers there; check docker_host"
    return ""


def _is_of_no_engine(link: BaseException) -> bool:
    """Tell if an answer is not JSON, or not an engine's: the SDK then raises from a KeyError or TypeError."""
    kind, below = type(link).__name__, link.__cause__ or link.__context__
    return kind == "JSONDecodeError" or (kind == "DockerException" and isinstance(below, (KeyError, TypeError)))


def _may_be_socket(host: str) -> bool:
    scheme, _found, path = host.partition("://")
    if scheme != "unix":
        return True
    with contextlib.suppress(OSError, ValueError):
        return stat.S_ISSOCK(os.stat(path).st_mode)
    return True
