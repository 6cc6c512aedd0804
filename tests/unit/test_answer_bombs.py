# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers that need much memory: compressed, with many values, endless, or with false chunk sizes."""

from __future__ import annotations

import contextlib
import gzip
import json
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing

import pytest
from ansible_collections.fleet.power.tests.integration.panel_server import Answering, Behaviour, Recorder, text

PLAIN_MIB = 300
MOST_MIB = 150
#: Requests each address of a JSON list. Prints the results and the most memory that this process has had, in MiB.
#: The maximum of getrusage is no use here: it includes the memory of the parent process.
CHILD = """
import json, re, sys
from ansible_collections.fleet.power.plugins.module_utils._power.sources.web import Web
from ansible_collections.fleet.power.plugins.module_utils._power.sources.web_fault import WebFault
from ansible_collections.fleet.power.plugins.module_utils._power.engine.connection import Connection
from ansible_collections.fleet.power.plugins.module_utils._power.engine.docker_engine import DockerEngine
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineUnreachable
ENGINE = {
    "inspect": lambda engine: engine.inspect("7f9f2b60-6c32-4f4b-9d65-0d6a1dd9a3d1"),
    "servers": lambda engine: engine.servers(),
    "pull": lambda engine: engine.images.pull("x:1", None, lambda: None),
}
said = []
for how, url in json.load(sys.stdin):
    try:
        if how in ENGINE:
            ENGINE[how](DockerEngine(Connection(host=url.replace("http:", "tcp:"), api_version="1.44", timeout=5)))
        web = Web(url, "Bearer one.two", verbatim=how == "look")
        if how in ("look", "mask"):
            answer = web.ask("GET", "/x", seconds=20)
            said.append(f"{answer.status} {type(answer.value).__name__}")
            continue
        answer = web.ask("GET", "/x", seconds=20) if how == "ask" else web.send("/x", b"{}", {}, seconds=20)
        said.append(f"{answer.status} {answer.value!r}")
    except WebFault as fault:
        said.append(f"{fault} {fault.lasting}")
    except EngineUnreachable as error:
        said.append(str(error).partition("cannot be reached: ")[2])
most = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
print(json.dumps([said, int(most[1]) // 1024]))
"""


def zeros(wbits: int) -> bytes:
    """Compress PLAIN_MIB of zeros. It is fast, because each MiB after the first gives the same bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    begin = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return begin + again * (PLAIN_MIB - 1)


GZIP, DEFLATE = zeros(31), zeros(15)
TWICE = gzip.compress(GZIP)


def compressed(content: bytes, encoding: str, *, chunked: bool = False) -> Behaviour:
    def behaviour(answer: Answering) -> None:
        if chunked:
            head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nTransfer-Encoding: chunked\r\n\r\n{len(content):x}\r\n"
            answer.write(head.encode() + content + b"\r\n0\r\n\r\n")
        else:
            answer.raw(200, content, Content_Encoding=encoding)

    return behaviour


#: Encoding, content, and whether the content comes in a chunk.
COMPRESSED = (
    ("gzip", GZIP, False),
    ("deflate", DEFLATE, False),
    ("br", b"\x0b\x02\x80abc\x03" * 100, False),
    ("zstd", b"\x28\xb5\x2f\xfd" * 100, False),
    ("x-gzip", GZIP, False),
    ("GZip", GZIP, False),
    ("gzip, gzip", TWICE, False),
    ("identity, gzip", GZIP, False),
    ("gzip, gzip", TWICE, True),
    ("deflate, deflate", zlib.compress(DEFLATE), True),
)


@pytest.fixture
def server() -> Iterator[Recorder]:
    with closing(Recorder()) as server:
        yield server


def said_in_a_process(*asked: tuple[str, str]) -> tuple[list[str], int]:
    """The results of a process for these addresses, and its peak memory in MiB."""
    done = subprocess.run([sys.executable, "-c", CHILD], check=False, input=json.dumps(asked), capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    said, mebibytes = json.loads(done.stdout)
    return said, mebibytes


def test_a_compression_bomb_leaves_the_process_below_150_mib(server: Recorder) -> None:
    assert len(TWICE) < 4096
    urls = [f"{server.url}/{number}" for number in range(len(COMPRESSED))]
    for number, (encoding, content, chunked) in enumerate(COMPRESSED):
        server.fault(compressed(content, encoding, chunked=chunked), of=f"^/{number}/")
    said, most = said_in_a_process(*(("ask", url) for url in urls))
    assert most < MOST_MIB
    assert said == [
        f"its answer is compressed ({encoding}), and only plain answers are read True" for encoding, _content, _chunked in COMPRESSED
    ]
    # In an answer to an event only the status counts.
    said, most = said_in_a_process(*(("send", url) for url in urls))
    assert (said, most < MOST_MIB) == (["200 None"] * len(urls), True)


@pytest.mark.parametrize("location", ["/y", "http://[::1"])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_the_body_of_a_redirect_is_not_read(server: Recorder, location: str, encoding: str) -> None:
    def behaviour(answer: Answering) -> None:
        answer.write(
            f"HTTP/1.1 302 X\r\nLocation: {location}\r\nContent-Encoding: {encoding}\r\nContent-Length: 999999999\r\n\r\n".encode()
        )
        with contextlib.suppress(OSError):
            answer.write(GZIP if encoding == "gzip" else b"0" * PLAIN_MIB * 2**20)
        answer.cut()

    server.fault(behaviour)
    said, most = said_in_a_process(("ask", server.url), ("send", server.url))
    assert [text.startswith("it redirects to another address (") for text in said] == [True, True], said
    assert most < MOST_MIB


@pytest.mark.parametrize("begin", [b"", b"-1\r\n", b"-5\r\n"], ids=["endless", "all", "negative"])
def test_a_false_chunk_size_does_not_lift_the_limit(server: Recorder, begin: bytes) -> None:
    def behaviour(answer: Answering) -> None:
        answer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + begin)
        for _unused in range(PLAIN_MIB):
            answer.write(b"0" * 2**20)
        answer.cut()

    server.fault(behaviour)
    said, most = said_in_a_process(("ask", server.url))
    assert (said, most < MOST_MIB) == (["the connection was cut before the answer was whole False"], True)


def unending(begin: bytes, *, number: int = 200, chunk: int = 2**20) -> Behaviour:
    """An answer of PLAIN_MIB after its beginning, in chunks of this declared size."""

    def behaviour(answer: Answering) -> None:
        answer.write(f"HTTP/1.1 {number} X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        answer.write(f"{len(begin):x}\r\n".encode() + begin + b"\r\n")
        with contextlib.suppress(OSError):
            for _unused in range(PLAIN_MIB * 2**20 // chunk or 1):
                answer.write(f"{chunk:x}\r\n".encode())
                for _each in range(min(chunk // 2**20, PLAIN_MIB)):
                    answer.write(b"a" * 2**20)
                answer.write(b"\r\n")
            answer.write(b"0\r\n\r\n")
        answer.cut()

    return behaviour


@pytest.mark.parametrize(
    ("call", "behaviour", "why"),
    [
        ("inspect", unending(b'{"x":"'), "its answer is larger than 64 MiB"),
        ("servers", unending(b'[{"x":"'), "its answer is larger than 64 MiB"),
        ("inspect", unending(b'{"message":"', number=500), "its answer is larger than 1 MiB"),
        ("pull", unending(b'{"status":"'), "a part of its answer is larger than 4 MiB"),
        ("pull", unending(b'{"message":"', number=500), "its answer is larger than 1 MiB"),
        ("servers", compressed(TWICE, "gzip, gzip"), "its answer is compressed (gzip, gzip), and only plain answers are read"),
    ],
    ids=["answer", "list", "error", "part", "refusal", "compressed"],
)
def test_an_engines_answer_that_needs_much_memory_is_refused(server: Recorder, call: str, behaviour: Behaviour, why: str) -> None:
    server.fault(behaviour)
    said, most = said_in_a_process((call, server.url))
    assert (said, most < MOST_MIB) == ([why], True), most


@pytest.mark.parametrize(("how", "number"), [("look", 360_000), ("mask", 180_000)])
def test_an_answer_of_too_many_values_is_refused_before_it_is_parsed(server: Recorder, how: str, number: int) -> None:
    server.fault(text(b'{"data":[' + b"{}," * (5 * 2**20) + b"{}]}"))
    said, most = said_in_a_process((how, server.url))
    assert (said, most < MOST_MIB) == ([f"its answer holds more than {number} values True"], True), most
