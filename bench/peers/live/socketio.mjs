// Peer: socket.io alone. POST /event sends its body to the room as an event.
import { openDesk } from './desk.mjs'

const [port, secret] = process.argv.slice(2)
const desk = openDesk(port, secret, (body) => desk.to('room').emit('officer', body))
