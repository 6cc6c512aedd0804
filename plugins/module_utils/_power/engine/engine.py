# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine calls of the core, as protocols. `docker_engine.DockerEngine` and test doubles implement them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..container.container_network import NetworkSpec
from ..model.server import ImageSeen, ListedContainer, Run, Server, Snapshot
from .engine_answers import Use
from .output import Output

if TYPE_CHECKING:
    from .engine_commands import CommandEnd
    from .event_stream import ContainerEvent


class Containers(Protocol):
    """Makes, changes and removes containers and their networks."""

    def create(self, name: str, config: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Create a container; return its id and the engine's warnings."""

    def remove(self, name: str, *, volumes: bool) -> bool:
        """Remove a container that does not run; False if it runs. A missing container counts as removed."""

    def rename(self, name: str, new_name: str) -> None:
        """Rename a container."""

    def forbid_restart(self, name: str) -> None:
        """Set the container's restart policy to ``no``."""

    def set_limits(self, name: str, body: Mapping[str, Any]) -> list[str]:
        """Change the limits of a container, also while it runs; return the engine's warnings. After `EngineError`, some may apply."""

    def ensure_network(self, network: NetworkSpec) -> bool:
        """Create a missing network; True if it was created."""


class Images(Protocol):
    """Finds and pulls the images of a node."""

    def find(self, reference: str) -> ImageSeen | None:
        """Return an image of the node, or None."""

    def pull(self, reference: str, credentials: Mapping[str, str] | None, check_cancelled: Callable[[], None]) -> None:
        """Pull an image; call ``check_cancelled`` at least every second. Raises for an error in the progress stream too."""


class Logs(Protocol):
    """Reads the output of containers: live, and from the engine's log."""

    def attach(self, name: str) -> Output:
        """Return the container's output from now on; attach before the start to miss nothing."""

    def tail(self, name: str, lines: int) -> bytes:
        """Return the last lines of the container's log."""

    def of_run(self, run: Run) -> bytes:
        """Return the log of one run of a container."""

    def tail_of_run(self, run: Run, lines: int) -> bytes:
        """Return the last lines of the log of the newest run."""


class EventStream(Protocol):
    """Container events for one reading thread; any thread may close it. `EngineUnreachable` if it breaks."""

    def __iter__(self) -> Iterator[ContainerEvent]:
        """Return itself."""

    def __next__(self) -> ContainerEvent:
        """Wait for the next event."""

    def close(self) -> None:
        """End the stream at once, also during a read. A second call does nothing."""


class Events(Protocol):
    """Events of the engine: hints, not facts."""

    def await_end_hint(self, container: str, seconds: float, *, begin: bool) -> bool | None:
        """Wait up to ``seconds`` for the end of a container's process; return whether the engine reported it.

        Returns None at once if the engine cannot tell, or if there is no listener yet and ``begin`` is false: a new one has a cost. Poll
        `inspect` as well: reports may be missing or wrong.
        """

    def changed_servers(self, since: float, until: float) -> Iterator[str]:
        """Yield UUIDs of servers that may have changed between two wall-clock moments: hints, only from a ``local`` engine."""

    def follow(self, since: int | None) -> EventStream:
        """Return an open stream of container events; the caller closes it. See `EventStream`.

        ``since``, in nanoseconds of the engine's clock, repeats events from that moment on: the engine process keeps its last 256 of all
        kinds. Without ``since``, events right after this call may be missed. An open stream delays the engine's shutdown by up to 5 s after
        the end of its last container.
        """

    def is_serving(self, seconds: float) -> bool:
        """Tell if the engine answers a new connection within ``seconds``. In a shutdown it refuses these before its first signal."""


class ContainerCommands(Protocol):
    """Runs commands in containers, beside the main process and as the same user."""

    def run(self, container: str, words: Sequence[str], *, seconds: float, most_bytes: int) -> CommandEnd:
        """Run a program in a container, by its full id, and return how it ended.

        Limits are ``seconds`` and ``most_bytes``. A local, permitted caller kills an unfinished command; otherwise that container gets no
        further command until it ends. Each container runs one command at a time; others wait.
        """


class Engine(Protocol):
    """Sees containers and acts on their processes. A ``name`` is a container's id or name.

    Return values report a missing container. Each call takes at most ``timeout`` seconds, apart from deliberate waits. A ``local`` engine's
    containers use this machine's addresses and ports.
    """

    timeout: float
    local: bool
    containers: Containers
    images: Images
    logs: Logs
    events: Events
    commands: ContainerCommands

    def inspect(self, name: str) -> Snapshot | None:
        """Return the container as it is now, or None."""

    def servers(self) -> list[Server]:
        """Return every server with a container of ours or of Wings; ours give the name at their creation."""

    def listed(self) -> list[ListedContainer]:
        """Return every container of a server, by one call; also live, renamed containers of ours."""

    def publisher(self, published: str, address: str) -> str | None:
        """Return the name of the live container that publishes a port such as ``25565/tcp`` on an address or on all; else None."""

    def signal(self, name: str, signal: str) -> bool:
        """Send a signal; False if nothing runs there (not running, or no such container)."""

    def unpause(self, name: str) -> None:
        """Continue a paused container."""

    def write_stdin(self, name: str, text: str, *, taken_within: float | None = None) -> None:
        """Write to the standard input of the process; return when the engine has the text.

        With ``taken_within`` seconds, return when the process's pipe has it: `EngineError` with the fact ``not_read`` if that is full.
        """

    def start(self, name: str) -> None:
        """Start a container; return after its process has started."""

    def use(self, name: str) -> Use | None:
        """Return the current use; None if it does not run."""

    def facts(self) -> Mapping[str, Any]:
        """Return the engine's own description of itself and its machine."""
