// Peer: ws, the bare WebSocket library. POST / sends its body to everybody.
import { createServer } from 'node:http'
import { WebSocketServer } from 'ws'

const http = createServer((request, response) => {
  const parts = []
  request.on('data', (part) => parts.push(part))
  request.on('end', () => {
    const body = Buffer.concat(parts)
    for (const client of server.clients) client.send(body, { binary: false })
    response.writeHead(204).end()
  })
})
const server = new WebSocketServer({ server: http, perMessageDeflate: false })
http.listen(Number(process.argv[2]), '127.0.0.1')
