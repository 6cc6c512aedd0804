# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepares the HTTP shim for the demo's servers: settings with a token, which stay, and requests to try."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

import demo

SETTINGS = demo.HOME / "shim.yml"
TOKEN = demo.HOME / "shim-token"
PORT = 42500


def main() -> None:
    """Write the settings, and print requests to try."""
    if not demo.CONFIG.exists():
        demo.prepare()
    if not TOKEN.exists():
        write(TOKEN, secrets.token_hex(16))
    settings = json.loads(demo.CONFIG.read_text())
    write(SETTINGS, json.dumps({**settings, "token": TOKEN.read_text(), "token_id": "demo", "api": {"port": PORT}}, indent=2))
    server = demo.definition(1, demo.FLEET[0])["settings"]["uuid"]
    url = f"http://127.0.0.1:{PORT}"
    token = f'-H "Authorization: Bearer $(cat {os.path.relpath(TOKEN)})"'
    print(f"""
In another terminal, start {demo.FLEET[0]}. The answer's header Location has the path of the operation:

  curl -i {token} {url}/api/servers/{server}/power -d '{{"action": "start"}}'

Its result, after the end (ID is in that path):

  curl {token} "{url}/api/servers/{server}/operations/ID?wait=60"

All operations of the server, and the server itself:

  curl {token} {url}/api/servers/{server}/operations
  curl {token} {url}/api/servers/{server}
""")


def write(path: Path, text: str) -> None:
    """Write a file that only this user may read."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


if __name__ == "__main__":
    main()
