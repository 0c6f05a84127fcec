// The Socket.IO side of the peers: namespace /desk, a token check as strict as ours, one room for the whole town.
import { createHmac, timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:http'
import { Server } from 'socket.io'

export function verified(token, key) {
  const [head, body, signature] = String(token).split('.')
  const expected = createHmac('sha256', key).update(`${head}.${body}`).digest()
  const given = Buffer.from(signature ?? '', 'base64url')
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return null
  const claims = JSON.parse(Buffer.from(body, 'base64url').toString())
  return claims.exp > Date.now() / 1000 ? claims : null
}

export function openDesk(port, key, onBody) {
  const http = createServer((request, response) => {
    const parts = []
    request.on('data', (part) => parts.push(part))
    request.on('end', () => {
      onBody?.(JSON.parse(Buffer.concat(parts).toString()))
      response.writeHead(204).end()
    })
  })
  const options = { transports: ['websocket'], serveClient: false, pingInterval: 120_000, pingTimeout: 120_000 }
  const desk = new Server(http, options).of('/desk')
  desk.use((socket, next) => {
    if (!verified(socket.handshake.auth.token, key)) return next(new Error('unauthenticated'))
    socket.join('room')
    next()
  })
  http.listen(Number(port), '127.0.0.1')
  return desk
}
