# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls that the core makes to an engine. `docker_engine.DockerEngine` answers them, or a test's own."""

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
    """Makes, changes and removes containers, and the networks they need."""

    def create(self, name: str, config: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Create a container; return its id, and what the engine warns of."""

    def remove(self, name: str, *, volumes: bool) -> bool:
        """Remove a container that does not run, never by force; False if it runs. Gone already counts as removed."""

    def rename(self, name: str, new_name: str) -> None:
        """Give a container another name."""

    def forbid_restart(self, name: str) -> None:
        """Set the container's restart policy to ``no``."""

    def set_limits(self, name: str, body: Mapping[str, Any]) -> list[str]:
        """Change the limits of a container, also while it runs; return what the engine warns of. `EngineError`: some may be in force."""

    def ensure_network(self, network: NetworkSpec) -> bool:
        """Create a network if it is not there; True if it was created."""


class Images(Protocol):
    """Finds and pulls the images of a node."""

    def find(self, reference: str) -> ImageSeen | None:
        """Return an image that is on the node, or None."""

    def pull(self, reference: str, credentials: Mapping[str, str] | None, check_cancelled: Callable[[], None]) -> None:
        """Pull an image, looking up at least every second; an error inside the progress stream is an error."""


class Logs(Protocol):
    """Reads what containers print: as it comes, and as the engine has kept it."""

    def attach(self, name: str) -> Output:
        """Return the container's output from now on; attach before the start to miss nothing."""

    def tail(self, name: str, lines: int) -> bytes:
        """Return the last lines of the container's log."""

    def of_run(self, run: Run) -> bytes:
        """Return the log of one run of a container."""

    def tail_of_run(self, run: Run, lines: int) -> bytes:
        """Return the last lines of the log of one run of a container, the newest one."""


class EventStream(Protocol):
    """What happens to containers, as it comes, for one thread to read; any other may close it.

    A read may take hours. The stream ends where the engine ends it, or `close`; `EngineUnreachable` where it breaks or cannot be read.
    """

    def __iter__(self) -> Iterator[ContainerEvent]:
        """Itself."""

    def __next__(self) -> ContainerEvent:
        """Wait for the next event."""

    def close(self) -> None:
        """End the stream at once, whoever waits for an event; a second time does nothing."""


class Events(Protocol):
    """Tells what the engine says by itself: hints, no facts."""

    def await_end_hint(self, container: str, seconds: float, *, begin: bool) -> bool | None:
        """Wait for the engine to tell that a container's process has ended, at most ``seconds``; whether it did. None, at once, if it
        cannot tell, or if nobody listens to it yet and ``begin`` does not ask for that, which has a price.

        A hint in both directions: `inspect` decides, and has to be asked now and then.
        """

    def changed_servers(self, since: float, until: float) -> Iterator[str]:
        """The uuids of servers, each as something happens to its container after which its state may be another, from one moment of the
        wall clock until another. A hint, too; only an engine that is ``local`` has our clock.
        """

    def follow(self, since: int | None) -> EventStream:
        """Return an open stream of what happens to containers, read and closed by who asks; see `EventStream`.

        ``since``, in nanoseconds of the engine's clock, is what is told again, that moment included: of its last 256 events of all kinds,
        as long as it is the same process. Without it something may be missed right after this call; with it nothing is.

        Whoever leaves it open holds up an engine that is shut down, by 5 s after the end of its last container.
        """

    def is_serving(self, seconds: float) -> bool:
        """Tell if the engine answers somebody new within so many seconds.

        In a shutdown it lets nobody in any more before it sends the first container its signal: if it answers after an end, that end was
        none of a shutdown.
        """


class ContainerCommands(Protocol):
    """Runs commands in containers, beside their own process and as the same user."""

    def run(self, container: str, words: Sequence[str], *, seconds: float, most_bytes: int) -> CommandEnd:
        """Run a program with its arguments in a container, by its full id, and wait for its end; return how it ended.

        It gets ``seconds``, and may print ``most_bytes``. What has not ended then is ended, where the engine is on this machine and this
        process may; else no further one is begun in that container before it has. In one container one runs at a time, others wait.
        """


class Engine(Protocol):
    """Sees containers and acts on their processes; its parts do the rest. A ``name`` is a container's id or name.

    A call on a container that is gone says so by its value. None takes longer than ``timeout`` seconds, but for what is waited for on
    purpose. ``local``: its containers use this machine's addresses and ports.
    """

    timeout: float
    local: bool
    containers: Containers
    images: Images
    logs: Logs
    events: Events
    commands: ContainerCommands

    def inspect(self, name: str) -> Snapshot | None:
        """The container as it is now, or None."""

    def servers(self) -> list[Server]:
        """Every server that has a container of ours or of Wings; by the name that it had when ours was made."""

    def listed(self) -> list[ListedContainer]:
        """Every container that belongs to a server, by one call; a live one of ours too that somebody has renamed."""

    def publisher(self, published: str, address: str) -> str | None:
        """The name of the live container that has published a port, such as ``25565/tcp``, on an address or on all; else None."""

    def signal(self, name: str, signal: str) -> bool:
        """Send a signal; False if nothing runs there (not running, or no such container)."""

    def unpause(self, name: str) -> None:
        """Let a paused container go on."""

    def write_stdin(self, name: str, text: str, *, taken_within: float | None = None) -> None:
        """Write to the standard input of the container's process; return when the engine has it.

        With ``taken_within`` seconds, when the process's pipe has it: `EngineError` with the fact ``not_read`` if that is full.
        """

    def start(self, name: str) -> None:
        """Start a container; the answer means that its process was started."""

    def use(self, name: str) -> Use | None:
        """Read what the container uses now; None if it does not run."""

    def facts(self) -> Mapping[str, Any]:
        """Ask what the engine says of itself and its machine, in its own words."""
