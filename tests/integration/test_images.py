# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images from a registry: pulls, tags that move, and servers on an earlier image. Engines differ in what the id of an image is."""

from __future__ import annotations

import uuid as uuid_module
from collections.abc import Iterator

import pytest
from ansible_collections.fleet.power.plugins.module_utils._command.define import define

from .controller import Controller
from .image_registry import ImageRegistry, image_registry
from .lab import IMAGE, Lab, ended
from .test_info import outdated


@pytest.fixture(name="registry")
def serve_images(lab: Lab) -> Iterator[ImageRegistry]:
    with image_registry(lab) as found:
        yield found
        # The containers first: they use the images.
        lab.clean()
        for image in lab.client.images(filters={"label": f"test.registry={found.name}"}, quiet=True, all=True):
            lab.client.remove_image(image, force=True)


def push(registry: ImageRegistry, version: int) -> str:
    """Make the tag mean an image that sets VERSION; return its reference. The second version is in a list of images."""
    labels = {"test.registry": registry.name}
    return registry.push("1", in_index=version == 2, Env=["PATH=/bin", f"VERSION={version}"], Labels=labels)


def version_of(lab: Lab, uuid: str) -> str:
    found = lab.container(uuid)
    assert found is not None and found["State"]["Running"]
    return dict(entry.split("=", 1) for entry in found["Config"]["Env"])["VERSION"]


def identity(lab: Lab, uuid: str) -> str:
    found = lab.container(uuid)
    assert found is not None
    return str(found["Id"])


def pull(lab: Lab, reference: str) -> str:
    assert "error" not in lab.client.pull(reference)
    return reference


def outsider(lab: Lab, image: str) -> str:
    """Start a foreign container, which the lab removes; return its name."""
    name = f"web-{uuid_module.uuid4().hex[:12]}"
    lab.uuids.append(name)
    lab.outsider(name, Image=image)
    return name


def test_a_start_pulls_only_a_missing_image(lab: Lab, registry: ImageRegistry) -> None:
    uuid = lab.up(image=push(registry, 1))
    made = identity(lab, uuid)
    push(registry, 2)
    assert ended(lab.power("restart", uuid)) == ("done", "")
    assert (identity(lab, uuid), version_of(lab, uuid)) == (made, "1")


def test_with_pull_always_a_start_uses_the_present_image_of_the_tag(lab: Lab, registry: ImageRegistry) -> None:
    lab.write_settings(docker={"pull": "always"})
    uuid = lab.server(image=push(registry, 1))
    for version in (1, 2):
        push(registry, version)
        assert ended(lab.power("restart", uuid)) == ("done", "")
        made = identity(lab, uuid)
        assert ended(lab.power("restart", uuid)) == ("done", "")
        assert version_of(lab, uuid) == str(version)
        assert identity(lab, uuid) == made, "the same image needs no new container"


def test_a_newer_image_on_the_node_makes_the_container_outdated(lab: Lab, controller: Controller, registry: ImageRegistry) -> None:
    uuid = lab.up(image=push(registry, 1))
    reference = push(registry, 2)
    assert outdated(controller, uuid)["is_outdated"] is False, "the node does not have the newer image"
    pull(lab, reference)
    found = outdated(controller, uuid)
    assert (found["is_outdated"], found["restart"]) == (True, ["image"])
    assert version_of(lab, uuid) == "1"
    options = controller.options(server=uuid, action="restart", outdated=True)
    outcomes = [controller.run_module("server_power", **options)["servers"][0]["outcome"] for _twice in range(2)]
    assert (outcomes, version_of(lab, uuid)) == (["done", "skipped"], "2")


def test_a_server_is_stopped_and_started_after_its_image_was_removed_from_the_node(
    lab: Lab, controller: Controller, registry: ImageRegistry
) -> None:
    uuid = lab.up(image=push(registry, 1))
    lab.client.remove_image(push(registry, 2), force=True)
    found = outdated(controller, uuid)
    assert found["is_outdated"] is None and "it is not on the node; pull it" in found["why"]
    assert version_of(lab, uuid) == "1"
    assert ended(lab.power("stop", uuid)) == ("done", "")
    assert ended(lab.power("start", uuid, wait_for="running")) == ("done", "")
    assert version_of(lab, uuid) == "2"


def test_a_draft_forbids_a_pull_only_of_an_image_of_this_node(lab: Lab, registry: ImageRegistry) -> None:
    pulled = pull(lab, push(registry, 1))
    assert f"image: {pulled}\n" in define(outsider(lab, pulled), lab.node())[0]
    text, _none = define(outsider(lab, IMAGE[1:]), lab.node())
    if lab.client.info()["Driver"] == "overlayfs":
        assert f"image: {IMAGE[1:]}\n" in text and "then write ~ before it" in text, "containerd's store does not show it"
    else:
        assert f"image: {IMAGE}\n" in text and "then write ~ before it" not in text


def test_a_draft_is_suspended_if_the_tag_of_the_container_moved(lab: Lab, registry: ImageRegistry) -> None:
    name = outsider(lab, pull(lab, push(registry, 1)))
    pull(lab, push(registry, 2))
    text, _none = define(name, lab.node())
    assert "suspended: true" in text and "its image: the tag means another one now" in text
