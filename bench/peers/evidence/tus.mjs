// The peer: @tus/server with its own file store, of which only `write` is another: it hashes what passes, and brings
// it to the disk before it is confirmed. It checks the same tokens, and at the end the hash that was declared. It has
// no database, no quota and no custody log.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { createWriteStream, rename } from 'node:fs'
import { join } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import { FileStore } from '@tus/file-store'
import { Server } from '@tus/server'

const { PORT, FOLDER, TOKEN_KEY } = process.env
const key = Buffer.from(TOKEN_KEY ?? '', 'hex')

function mayBring(header) {
  const [head, claims, signature] = (header ?? '').replace(/^Bearer /, '').split('.')
  const expected = createHmac('sha256', key).update(`${head}.${claims}`).digest()
  const given = Buffer.from(signature ?? '', 'base64url')
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return false
  return JSON.parse(Buffer.from(claims, 'base64url')).exp > Date.now() / 1000
}

class HashingStore extends FileStore {
  hashes = new Map()

  async write(readable, id, offset) {
    const hash = this.hashes.get(id) ?? createHash('sha256')
    this.hashes.set(id, hash)
    let reached = offset
    const hashing = new Transform({
      transform(chunk, _, done) {
        hash.update(chunk)
        reached += chunk.length
        done(null, chunk)
      },
    })
    await pipeline(readable, hashing, createWriteStream(join(FOLDER, id), { flags: 'r+', start: offset, flush: true }))
    return reached
  }
}

const store = new HashingStore({ directory: FOLDER })
const server = new Server({
  path: '/files',
  datastore: store,
  relativeLocation: true,
  async onIncomingRequest(request) {
    if (!mayBring(request.headers.get('authorization'))) throw { status_code: 401, body: 'no token' }
  },
  async onUploadFinish(_, upload) {
    const digest = store.hashes.get(upload.id).digest('hex')
    store.hashes.delete(upload.id)
    if (digest !== upload.metadata.sha256) throw { status_code: 422, body: 'hash differs' }
    await promisify(rename)(join(FOLDER, upload.id), join(FOLDER, `${digest}.kept`))
    return {}
  },
})
server.listen({ host: '127.0.0.1', port: Number(PORT) })
