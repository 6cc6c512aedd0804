# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Sphinx makes the site of what antsibull-docs has written: `make docs`."""

from __future__ import annotations

import zlib
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

HERE = Path(__file__).parent
#: Where Ansible's own documentation is; which of its places we name stands in a file, since builds ask nobody.
ANSIBLE = "https://docs.ansible.com/projects/ansible/latest/"


def inventory() -> str:
    """Write the places of Ansible's documentation as Sphinx reads them, and return the path of that file."""
    lines = [line for line in (HERE / "ansible.txt").read_text().splitlines() if not line.startswith("#")]
    header = "# Sphinx inventory version 2\n# Project: Ansible\n# Version:\n# The remainder of this file is compressed using zlib.\n"
    file = HERE.parents[1] / ".build/site/ansible.inv"
    file.write_bytes(header.encode() + zlib.compress("".join(f"{line}\n" for line in lines).encode()))
    return str(file)


project = "fleet.power"
copyright = "the fleet.power contributors"
title = html_short_title = html_title = "fleet.power"

extensions = ["sphinx.ext.intersphinx", "sphinx_antsibull_ext"]
intersphinx_mapping = {"ansible": (ANSIBLE, inventory())}
# Each reference leads somewhere, or the build fails.
nitpicky = True
default_role = "any"

pygments_style = "ansible"
highlight_language = "YAML+Jinja"

html_theme = "sphinx_ansible_theme"
html_static_path = [str(HERE / "static")]
html_css_files = ["fleet_power.css"]
html_show_sphinx = False
html_use_index = False
html_copy_source = False


def name_parts(app: Sphinx, document: nodes.document) -> None:
    """Have the contents beside each page name their parts, and plugins by their names alone: what they do is too long for there."""
    for toctree in document.findall(addnodes.toctree):
        section = toctree.parent
        while section is not None and not isinstance(section, nodes.section):
            section = section.parent
        if section is not None and toctree["entries"]:
            toctree["caption"] = toctree["rawcaption"] = section[0].astext()
        if toctree.get("hidden"):
            toctree["entries"] = [(title or " ".join(page.rpartition("_")[::2]), page) for title, page in toctree["entries"]]


def setup(app: Sphinx) -> None:
    """Add to Sphinx what the site has of its own."""
    app.connect("doctree-read", name_parts)
