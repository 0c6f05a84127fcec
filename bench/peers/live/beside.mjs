// For the Fastify peer in one process: socket.io beside it, told directly.
import { openDesk } from './desk.mjs'

const desk = openDesk(process.env.LIVE_PORT, Buffer.from(process.env.TOKEN_KEY, 'hex'))

export function publish(officer, fix) {
  const at = Date.parse(fix.fixed_at) / 1000
  desk.to('room').emit('positions', [[officer, fix.lon, fix.lat, at, fix.accuracy_m, fix.speed_mps,
    fix.heading_deg, fix.battery_pct, null, fix.charging]])
}
