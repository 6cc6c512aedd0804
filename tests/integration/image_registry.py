# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry on the loopback interface from which an engine can pull images: the test server's, with other settings."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .lab import IMAGE, Lab

_DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class ImageRegistry:
    """Has images with one layer, under the name `name` and any tag."""

    def __init__(self, lab: Lab) -> None:
        self._client, self._contents, self._types = lab.client, dict[str, bytes](), dict[str, str]()
        self._files = self._exported()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}/team/game"

    def push(self, tag: str, *, in_index: bool = False, **config: Any) -> str:
        """Make ``tag`` mean the test server's image with other settings; return its reference.

        With ``in_index`` the tag means a list of images, as build tools write it: one for this machine and one with facts about the build.
        """
        machine = {"os": "linux", "architecture": self._client.version()["Arch"]}
        settings = {**self._client.inspect_image(IMAGE[1:])["Config"], **config}
        body = {**machine, "config": settings, "rootfs": {"type": "layers", "diff_ids": [_digest(self._files)]}}
        layer = self._kept(gzip.compress(self._files, 1, mtime=0), _LAYER)
        manifest = {"schemaVersion": 2, "mediaType": _DOCKER, "config": self._kept(json.dumps(body).encode(), _CONFIG), "layers": [layer]}
        kept = self._kept(json.dumps(manifest).encode(), _DOCKER)
        if in_index:
            images = [{**kept, "platform": machine}, {**kept, "platform": {"os": "unknown", "architecture": "unknown"}}]
            kept = self._kept(json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": images}).encode(), _INDEX)
        self._contents[tag], self._types[tag] = self._contents[kept["digest"]], kept["mediaType"]
        return f"{self.name}:{tag}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _kept(self, data: bytes, media_type: str) -> dict[str, Any]:
        digest = _digest(data)
        self._contents[digest], self._types[digest] = data, media_type
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def _exported(self) -> bytes:
        made = self._client.create_container_from_config({"Image": IMAGE[1:], "HostConfig": {"NetworkMode": "none"}}, None)["Id"]
        try:
            return b"".join(self._client.export(made))
        finally:
            self._client.remove_container(made, force=True)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        contents, types = self._contents, self._types

        class Handler(BaseHTTPRequestHandler):
            # An engine tries TLS first. Containerd tries again without TLS only after an answer in HTTP.
            default_request_version = "HTTP/1.0"

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                what = self.path.rpartition("/")[2]
                data = b"{}" if self.path == "/v2/" else contents.get(what)
                self.send_response(404 if data is None else 200)
                self.send_header("Content-Type", types.get(what, "application/json"))
                self.send_header("Content-Length", str(len(data or b"")))
                self.send_header("Docker-Content-Digest", _digest(data or b""))
                self.end_headers()
                if body and data:
                    self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing: pytest would show it."""

        return Handler


@contextlib.contextmanager
def image_registry(lab: Lab) -> Iterator[ImageRegistry]:
    found = ImageRegistry(lab)
    try:
        yield found
    finally:
        found.close()
