# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options shared by the modules that act on a node: which servers, their definitions, the settings, the engine."""

    DOCUMENTATION = r"""
options:
  definitions:
    description:
      - Definitions of servers, in the Panel's shape, given by the task itself. They come before any other source.
      - Only C(settings.uuid) and C(settings.container.image) are required.
      - Values such as C({{SERVER_JARFILE}}) belong to the server, not to Jinja. Read definitions from files
        (V(lookup('ansible.builtin.file', ...\) | from_json)), or mark their strings C(!unsafe).
      - What they hold is neither logged nor returned. The node keeps the last definition of each server it started, for later stops,
        in C(definitions) below its state directory, readable by root and the group C(fleet-power) only.
    type: list
    elements: dict
  definitions_dir:
    description:
      - A directory of the node with definitions, one file for each server. It is read in place of C(system.definitions) of the node's
        settings.
      - With check mode it tells what definitions would do before they are in their place.
    type: path
  config:
    description:
      - The node's settings file. If given, it must exist.
      - If not given, C(/etc/fleet-power/config.yml) is read; where there is none, every setting has its default.
    type: path
  api_url:
    description:
      - Act through the HTTP endpoint of what runs the servers, Wings or one that speaks like it, and not through Docker.
        Its address as seen from where the module runs, such as V(https://node1.example.test:8080), with a path if one comes before
        the endpoint's own.
      - If not given, C(endpoint.url) of the node's settings is used. Empty is the node itself, whatever the settings say.
      - O(validate_certs) is V(true) then unless it is given, and O(ca_path), whose authorities alone are trusted, and O(timeout) count
        for the endpoint. The other options of the engine have no meaning, and O(definitions) and O(definitions_dir) are refused.
      - The environment's proxy is used, but not for C(localhost) or an address of the loopback.
    type: str
  api_token:
    description:
      - The endpoint's token. Wings' is C(token) of its configuration alone, without C(token_id).
      - If not given, C(endpoint.token) of the node's settings is used, then their C(token), which is Wings' own where C(wings_config) names
        its file. They go to C(endpoint.url) of the same settings, to C(localhost) and to addresses of the loopback alone. For any other
        O(api_url), this option is required. Over C(http) they are told, within this machine, only to a listener of root, of the user who
        asks, or of a member of C(system.group).
    type: str
  docker_host:
    description:
      - Address of the engine, C(unix:///path) or C(tcp://host:port).
      - If not given, the environment variable C(DOCKER_HOST) is used, then C(docker.host) of the node's settings, then
        C(unix:///var/run/docker.sock).
    type: str
    aliases: [docker_url]
  tls:
    description:
      - Talk TLS to the engine without verifying its certificate. O(validate_certs) takes precedence.
      - If not given, the environment variable C(DOCKER_TLS) is used, then V(false).
    type: bool
  validate_certs:
    description:
      - Talk TLS to the engine and verify its certificate.
      - If not given, the environment variable C(DOCKER_TLS_VERIFY) is used, then V(false).
    type: bool
    aliases: [tls_verify]
  ca_path:
    description:
      - File with the certificates of the authorities that O(validate_certs) trusts.
      - If not given and C(DOCKER_CERT_PATH) is set, C(ca.pem) from there.
    type: path
    aliases: [ca_cert, tls_ca_cert, cacert_path]
  client_cert:
    description:
      - File with the client's certificate.
      - If not given and C(DOCKER_CERT_PATH) is set, C(cert.pem) from there.
    type: path
    aliases: [tls_client_cert, cert_path]
  client_key:
    description:
      - File with the client's key.
      - If not given and C(DOCKER_CERT_PATH) is set, C(key.pem) from there.
    type: path
    aliases: [tls_client_key, key_path]
  tls_hostname:
    description:
      - Host name that the engine's certificate must carry, if not the one in O(docker_host).
      - If not given, the environment variable C(DOCKER_TLS_HOSTNAME) is used.
    type: str
  api_version:
    description:
      - Version of the Engine API to speak. If not given, C(DOCKER_API_VERSION) is used, then the engine is asked.
    type: str
    aliases: [docker_api_version]
  timeout:
    description:
      - Seconds that a call to the engine may take, at least 1. A call that takes longer is C(engine_unreachable).
      - If not given, the environment variable C(DOCKER_TIMEOUT) is used, then V(60).
    type: int
requirements:
  - "docker (the Docker SDK for Python) >= 5.0"
  - "requests"
  - "PyYAML, where settings or definitions are YAML files"
"""
