# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One action on one server: `perform` has all stages, `locked` those under the lock. `call`, `endpoint` and the HTTP shim may import it."""
