# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules that look at a node: definitions, settings, the engine; and of those that act on it."""

    DOCUMENTATION = r"""
options:
  definitions:
    description:
      - Definitions of servers, in the Panel's format. They have precedence over all other sources.
      - Only C(settings.uuid) and C(settings.container.image) are required.
      - Values such as C({{SERVER_JARFILE}}) belong to the server, not to Jinja. Read definitions from files
        (V(lookup('ansible.builtin.file', ...\) | from_json)), or mark their strings C(!unsafe).
      - Their content is neither logged nor returned. The node stores the last definition of each started server for later stops, in
        C(definitions) below its state directory. Root and the group C(fleet-power) can read it.
    type: list
    elements: dict
  definitions_dir:
    description:
      - A directory of the node with definitions, one file for each server. It replaces C(system.definitions) of the node's settings.
      - With check mode it shows the effect of definitions before you install them.
    type: path
  config:
    description:
      - The node's settings file. It must exist if you give it.
      - The default is C(/etc/fleet-power/config.yml). Without that file, every setting has its default.
    type: path
  api_url:
    description:
      - Act through the HTTP endpoint of Wings, or of the HTTP shim, instead of Docker. The address as the module reaches it, such as
        V(https://node1.example.test:8080), with a path if the endpoint has one.
      - The default is C(endpoint.url) of the node's settings. An empty text uses Docker.
      - O(validate_certs) is V(true) by default then. O(ca_path), the only trusted authorities, and O(timeout) apply to the endpoint. The
        engine's other options have no effect. O(definitions) and O(definitions_dir) are refused.
      - The environment's proxy is used, except for C(localhost) and loopback addresses.
    type: str
  api_token:
    description:
      - The endpoint's token. For Wings, C(token) of its configuration without C(token_id).
      - The default is C(endpoint.token) of the node's settings, then their C(token), which is Wings' own if C(wings_config) names its file.
        These go only to C(endpoint.url) of the same settings, to C(localhost) and to loopback addresses. Any other O(api_url) needs this
        option. Over C(http) on this machine, they go only to a listener of root, of the asking user, or of a member of C(system.group).
    type: str
  docker_host:
    description:
      - Address of the engine, C(unix:///path) or C(tcp://host:port).
      - The default is the environment variable C(DOCKER_HOST), then C(docker.host) of the node's settings, then
        C(unix:///var/run/docker.sock).
    type: str
    aliases: [docker_url]
  tls:
    description:
      - Use TLS without verification of the engine's certificate. O(validate_certs) has precedence.
      - The default is the environment variable C(DOCKER_TLS), then V(false).
    type: bool
  validate_certs:
    description:
      - Use TLS and verify the engine's certificate.
      - The default is the environment variable C(DOCKER_TLS_VERIFY), then V(false).
    type: bool
    aliases: [tls_verify]
  ca_path:
    description:
      - File with the certificates of the authorities for O(validate_certs).
      - The default is C(ca.pem) in C(DOCKER_CERT_PATH), if that is set.
    type: path
    aliases: [ca_cert, tls_ca_cert, cacert_path]
  client_cert:
    description: File with the client's certificate. The default is C(cert.pem) in C(DOCKER_CERT_PATH), if that is set.
    type: path
    aliases: [tls_client_cert, cert_path]
  client_key:
    description: File with the client's key. The default is C(key.pem) in C(DOCKER_CERT_PATH), if that is set.
    type: path
    aliases: [tls_client_key, key_path]
  tls_hostname:
    description:
      - Host name in the engine's certificate, if it is not the one in O(docker_host).
      - The default is the environment variable C(DOCKER_TLS_HOSTNAME).
    type: str
  api_version:
    description:
      - Version of the Engine API, at least C(1.41).
      - The default is C(DOCKER_API_VERSION), then the engine's own, but none newer than was tested (C(1.51)).
    type: str
    aliases: [docker_api_version]
  timeout:
    description:
      - Timeout of a call to the engine in seconds, at least 1. After it the code is C(engine_unreachable).
      - The default is the environment variable C(DOCKER_TIMEOUT), then V(60).
    type: int
requirements:
  - "docker (the Docker SDK for Python) >= 4.1; with requests >= 2.32, docker >= 7.1; with urllib3 >= 2, docker >= 6.1"
  - "requests"
  - "PyYAML, where settings or definitions are YAML files"
"""

    ACTING = r"""
options:
  wait_seconds:
    description:
      - Seconds to wait for another action on the same server, V(0) to V(300). V(0) tries once. Any other value becomes V(30), with a
        warning. A kill does not wait.
    type: int
    default: 30
  origin:
    description:
      - The requester, for those who wait for the lock and in the journal.
      - The default of the action plugin is user, controller, play and task. Elsewhere it is the sudo or login user and the address of the
        SSH client.
    type: str
  reason:
    description: The reason, shown and recorded like O(origin).
    type: str
"""
