#!/usr/bin/python
# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: core_call
short_description: Run a module of this collection from the node's core
version_added: 1.0.0
description:
  - A step of M(fleet.power.server_power), M(fleet.power.server_power_info) and M(fleet.power.server_limits); use these modules.
  - Their action plugins run this module first, with their options. It is small, because it runs them from the node's core. If the node has
    no usable core, it does nothing and says why, and the whole module follows.
extends_documentation_fragment: fleet.power.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: N/A
    details: It makes the call of another module, which says so itself.
options: {}
author: The fleet.power contributors (@fleet-power)
"""

EXAMPLES = r"""
# Do not use it in a task. server_power calls it.
- name: Restart a server
  fleet.power.server_power:
    server: 01234567-89ab-4cde-8f01-23456789abcd
    action: restart
"""

RETURN = r"""
fleet_core:
  description: Why the call found no usable core. Otherwise, the result is that of the module.
  type: str
  returned: if there is none
  sample: user 1001 cannot read /home/ops/.ansible/collections/ansible_collections/fleet/power/plugins/module_utils
"""

import json
import os
from importlib import import_module

# The core uses it, too.
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fleet.power.plugins.module_utils._core import (
    MEND,
    NO_CORE,
    PACKAGE,
    VARIABLE,
    CoreUnusable,
    core_directory,
    use_collection,
    use_core,
)


def main() -> None:
    if VARIABLE not in os.environ:
        alone = AnsibleModule(argument_spec={}, supports_check_mode=True)
        alone.fail_json(msg="Cannot run core_call by itself; use server_power, server_power_info or server_limits")
    try:
        asked = json.loads(os.environ.pop(VARIABLE))
        if "collection" in asked:
            use_collection(asked["collection"], keeps_bytecode=asked["keeps_bytecode"])
        else:
            use_core(core_directory(asked["digest"]))
        run = getattr(import_module(f"{PACKAGE}._options"), asked["run"])
    except Exception as error:  # nothing has begun yet
        why = str(error) if isinstance(error, CoreUnusable) else f"it cannot be imported: {error}; {MEND}"
        print(json.dumps({"changed": False, NO_CORE: why}))
        raise SystemExit(0) from None
    run()


if __name__ == "__main__":
    main()
