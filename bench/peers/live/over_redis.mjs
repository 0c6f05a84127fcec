// For the Fastify peer in several processes: what is committed goes over Redis to the socket.io process.
import { createClient } from 'redis'

const client = await createClient({ url: process.env.REDIS_URL }).connect()

export function publish(officer, fix) {
  const at = Date.parse(fix.fixed_at) / 1000
  client.publish('positions', JSON.stringify([officer, fix.lon, fix.lat, at, fix.accuracy_m, fix.speed_mps,
    fix.heading_deg, fix.battery_pct, null, fix.charging])).catch(() => {})
}
