// Copyright (c) 2026, the fleet.power contributors
// GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A player: node player.js PORT NAME. Prints one JSON list a line: ["joined"], ["chat", text], ["kicked", reason], ["error", text], ["left"].
// After SIGTERM it leaves as a person does.
const say = (...words) => console.log(JSON.stringify(words))
const bot = require('mineflayer').createBot({
  host: '127.0.0.1',
  port: Number(process.argv[2]),
  username: process.argv[3],
  auth: 'offline',
  version: process.env.MINECRAFT_VERSION || '1.21.4'
})
bot.once('spawn', () => say('joined'))
bot.on('messagestr', (text) => say('chat', text))
bot.on('kicked', (reason) => say('kicked', String(reason)))
bot.on('error', (error) => say('error', error.message))
bot.on('end', () => { say('left'); process.exit(0) })
process.on('SIGTERM', () => bot.quit())
