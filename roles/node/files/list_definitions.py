# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name the definitions in a directory of the controller, given as the argument, and refuse those that no node could read.

The names go to standard output, as a sorted JSON list: those that end in .json, .yml or .yaml and do not begin with a dot. A file is
refused by its name, and nothing that stands in it is told. What Ansible Vault encrypted is not looked into. With ``--some``, none at all is
refused.
"""

from __future__ import annotations

import json
import os
import stat
import sys

import yaml

EXTENSIONS = (".json", ".yml", ".yaml")
_VAULT = b"$ANSIBLE_VAULT;"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def list_definitions(directory: str, *, some: bool) -> list[str]:
    """The names, sorted. Raises OSError; ValueError for what cannot be read, and for none where there must be ``some``."""
    names = sorted(name for name in os.listdir(directory) if name.endswith(EXTENSIONS) and not name.startswith("."))
    if some and not names:
        raise ValueError("it has no definition, and node_definitions_purge would remove all of the node")
    for name in names:
        fault = _fault(os.path.join(directory, name))
        if fault:
            raise ValueError(f"{name} {fault}")
    # A name that is not UTF-8 is no uuid; it only has to be fit for a message.
    return [os.fsencode(name).decode(errors="backslashreplace") for name in names]


def _fault(path: str) -> str:
    """Say what is wrong with a file; empty if nothing is."""
    # A link might lead to any file of the controller.
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return "is no regular file, and links are not followed"
    with open(path, "rb") as file:
        content = file.read()
    if content.startswith(_VAULT):
        return ""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return "is not UTF-8"
    kind = "JSON" if path.endswith(".json") else "YAML"
    try:
        # The errors of both quote what stands there: only the place is told.
        read = json.loads(text) if kind == "JSON" else yaml.load(text, Loader=_LOADER)
    except json.JSONDecodeError as error:
        return f"is not {kind}, see line {error.lineno}, column {error.colno}"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        return f"is not {kind}" + (f", see line {mark.line + 1}, column {mark.column + 1}" if mark else "")
    except (ValueError, RecursionError, yaml.YAMLError):
        return f"is not {kind}"
    return "" if isinstance(read, dict) else f"holds no {kind} mapping"


def main() -> None:
    """Do what the arguments say, or end with what is wrong with the directory, to be put after a colon."""
    *options, directory = sys.argv[1:]
    try:
        names = list_definitions(directory, some="--some" in options)
    except OSError as error:
        sys.exit(f"{os.path.basename(error.filename or directory)} cannot be read, {(error.strerror or 'for no known reason').lower()}")
    except ValueError as error:
        sys.exit(str(error))
    json.dump(names, sys.stdout)


if __name__ == "__main__":
    main()
