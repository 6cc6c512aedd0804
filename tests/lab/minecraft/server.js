// Copyright (c) 2026, the fleet.power contributors
// GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A Minecraft server at SERVER_PORT with a flat world in memory. Players need no account. It reads `say ...` and `stop` on standard input.
// The server's own command ignores settings, so this file starts it.
const defaults = require('flying-squid/config/default-settings.json')
const server = require('flying-squid').createMCServer({
  ...defaults,
  version: process.env.MINECRAFT_VERSION,
  port: Number(process.env.SERVER_PORT || 25565),
  host: '0.0.0.0',
  'online-mode': false,
  'max-players': 10,
  'max-entities': 100,
  'view-distance': 2,
  worldFolder: undefined,
  logging: false,
  generation: { name: 'superflat', options: {} },
  kickTimeout: 30000
})
server.on('ready', () => console.log(`Done (${process.uptime().toFixed(3)}s)! For help, type "help"`))
server.on('error', (error) => console.log(`ERROR ${error.message}`))
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0))
