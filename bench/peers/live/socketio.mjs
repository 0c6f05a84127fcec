// Peer: socket.io. Clients of /desk with a valid token join one room; POST /event sends its body there as an event.
import { createHmac, timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:http'
import { Server } from 'socket.io'

const [port, secret] = process.argv.slice(2)

export function verified(token) {
  const [head, body, signature] = String(token).split('.')
  const expected = createHmac('sha256', secret).update(`${head}.${body}`).digest()
  const given = Buffer.from(signature ?? '', 'base64url')
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return null
  const claims = JSON.parse(Buffer.from(body, 'base64url').toString())
  return claims.exp > Date.now() / 1000 ? claims : null
}

const http = createServer((request, response) => {
  const parts = []
  request.on('data', (part) => parts.push(part))
  request.on('end', () => {
    desk.to('room').emit('officer', JSON.parse(Buffer.concat(parts).toString()))
    response.writeHead(204).end()
  })
})
const io = new Server(http, { transports: ['websocket'], serveClient: false, pingInterval: 120_000, pingTimeout: 120_000 })
const desk = io.of('/desk')
desk.use((socket, next) => {
  const claims = verified(socket.handshake.auth.token)
  if (!claims) return next(new Error('unauthenticated'))
  socket.join('room')
  next()
})
http.listen(Number(port), '127.0.0.1')
