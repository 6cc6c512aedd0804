# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# /// script
# dependencies = ["nox==2026.10.20", "antsibull-nox==1.10.0"]
# ///
"""Sessions for each supported ansible-core and Python. The workflows run them, and `make matrix` with package registries only.

antsibull-nox.toml adds the sessions of antsibull-nox. The collection's own tests run here on the machine itself, because the container of
ansible-test has no engine and no other interpreters.
"""

from __future__ import annotations

from pathlib import Path

import antsibull_nox
import nox

#: The supported ansible-core versions, each with its Pythons on a controller. README.md has the same table.
CONTROLLERS = {
    "2.19": ("3.11", "3.12", "3.13"),
    "2.20": ("3.12", "3.13", "3.14"),
    "2.21": ("3.12", "3.13", "3.14"),
}
#: The next ansible-core, which is not supported yet, and one of its Pythons.
DEVEL = ("devel", "3.13")
#: Pythons that only nodes have. The oldest gets the oldest libraries that the HTTP shim's role accepts: how aiohttp separates clients
#: differs between releases.
NODES = ("3.9", "3.10")
OLDEST = ("aiohttp>=3.8,<3.9", "PyJWT>=2.0,<2.1", "prometheus_client>=0.14,<0.15")
#: The version that distributions have there. It reads answers and compares names differently from version 2.
OLDEST_URLLIB3 = "urllib3>=1.26,<2"
HTTP_SHIM = tuple(f"tests/integration/test_shim_{part}.py" for part in ("http", "life", "websocket"))

CHECKOUT = Path(__file__).parent
BUILD = str(CHECKOUT / ".build")

nox.needs_version = ">=2026.10"
antsibull_nox.load_antsibull_nox_toml()


def requirements(name: str) -> list[str]:
    """Return the requirements in a file."""
    lines = (CHECKOUT / "tests" / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def libraries() -> list[str]:
    """Return the libraries of modules and HTTP shim: tests/demo-requirements.txt without ansible-core."""
    return [line for line in requirements("demo-requirements.txt") if not line.startswith("ansible-core")]


def readers() -> list[str]:
    """Return the libraries that read documents and events in integration tests, from tests/requirements.txt."""
    return [line for line in requirements("requirements.txt") if line.startswith(("schemathesis", "cloudevents", "standardwebhooks"))]


def ansible_core(core: str) -> str:
    """Return the requirement for this ansible-core."""
    return "https://github.com/ansible/ansible/archive/devel.tar.gz" if core == DEVEL[0] else f"ansible-core~={core}.0"


def prepare(session: nox.Session, *packages: str) -> None:
    """Install the tests' requirements, and make the link by which tests import the collection."""
    session.install("--quiet", "--requirement", "tests/core-requirements.txt", *packages)
    session.run("tests/tools/copy", "link", external=True)
    session.env.update({"PYTHONPATH": BUILD, "HYPOTHESIS_STORAGE_DIRECTORY": f"{BUILD}/hypothesis"})


def run_units(session: nox.Session) -> None:
    """Run the unit tests, or the arguments after the two dashes."""
    session.run("python", "-m", "pytest", *(session.posargs or ("-n", "2", "tests/unit")))


def run_integration(session: nox.Session, *tests: str) -> None:
    """Run these tests on the engine that tests choose."""
    script = 'tests/lab/image/build && exec python -m pytest "$@"'
    session.run("tests/lab/engine", "run", "bash", "-c", script, "integration", *tests, external=True)


def add_tests(core: str, pythons: tuple[str, ...], *tags: str) -> None:
    """Add the tests of a controller with this ansible-core, on each Python."""

    @nox.session(name=f"units-{core}", python=pythons, default=False, tags=tags)
    def units(session: nox.Session) -> None:
        """Run the unit tests on an ansible-core and Python."""
        prepare(session, ansible_core(core), *libraries())
        run_units(session)

    @nox.session(name=f"integration-{core}", python=pythons, default=False)
    def integration(session: nox.Session) -> None:
        """Run the integration tests on an ansible-core and Python."""
        prepare(session, ansible_core(core), *libraries(), *readers())
        run_integration(session, *(session.posargs or ("-n", "2", "tests/integration")))

    @nox.session(name=f"targets-{core}", python=pythons, default=False)
    def targets(session: nox.Session) -> None:
        """Run the targets of ansible-test on an ansible-core and Python. Targets of nodes need root, because they may boot a node."""
        session.install("--quiet", ansible_core(core), *libraries())
        session.run("tests/tools/targets", str(session.virtualenv.location), *session.posargs, external=True)


def add_sanity(core: str, python: str) -> None:
    """Add the sanity tests of this ansible-core. They need no container, unlike the sessions of antsibull-nox."""

    @nox.session(name=f"sanity-local-{core}", python=python, default=False, tags=["sanity"])
    def sanity(session: nox.Session) -> None:
        """Run ansible-test sanity of an ansible-core, without its container."""
        session.install("--quiet", ansible_core(core))
        session.run("tests/tools/sanity", str(session.virtualenv.location), *session.posargs, external=True)


@nox.session(python=NODES, default=False, tags=["units"])
def node(session: nox.Session) -> None:
    """Run the tests of a node's code, without Ansible, on a Python that only nodes have."""
    prepare(session, *((*OLDEST, OLDEST_URLLIB3) if session.python == NODES[0] else libraries()))
    run_units(session)
    if not session.posargs:
        run_integration(session, "-n", "2", *HTTP_SHIM)


for each_core, its_pythons in CONTROLLERS.items():
    add_tests(each_core, its_pythons, "units")
    add_sanity(each_core, its_pythons[0])
add_tests(DEVEL[0], DEVEL[1:])

if __name__ == "__main__":
    nox.main()
