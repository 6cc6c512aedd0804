# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every route of the HTTP face, gathered from the classes that handle them: what is served and what the OpenAPI document says."""

from __future__ import annotations

from .routes.about import AboutRoutes
from .routes.events import EventRoutes
from .routes.power import PowerRoutes
from .routes.route import routes_of
from .routes.servers import ServerRoutes
from .websocket.route import WebsocketRoutes

ROUTES = tuple(route for group in (AboutRoutes, ServerRoutes, PowerRoutes, EventRoutes, WebsocketRoutes) for route in routes_of(group))
