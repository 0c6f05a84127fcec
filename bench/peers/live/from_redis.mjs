// The socket.io process of the Fastify peer: each committed position goes to the room as it comes.
import { createClient } from 'redis'
import { openDesk } from './desk.mjs'

const { LIVE_PORT, TOKEN_KEY, REDIS_URL } = process.env
const desk = openDesk(LIVE_PORT, Buffer.from(TOKEN_KEY, 'hex'))
const client = await createClient({ url: REDIS_URL }).connect()
await client.subscribe('positions', (text) => desk.to('room').emit('positions', [JSON.parse(text)]))
