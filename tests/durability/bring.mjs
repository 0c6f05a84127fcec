// Brings a photo up as the officer client does, with the library that it has, and goes on after every cut.
// node bring.mjs FILE ENDPOINT TOKEN METADATA-AS-JSON [PROTOCOL]: tus-v1, ietf-draft-03 or ietf-draft-05
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const web = join(dirname(fileURLToPath(import.meta.url)), '../../web/package.json')
const { Upload } = createRequire(web)('tus-js-client')
const [file, endpoint, token, metadata, protocol = 'tus-v1'] = process.argv.slice(2)
const upload = new Upload(readFileSync(file), {
  endpoint,
  protocol,
  metadata: JSON.parse(metadata),
  chunkSize: 64 * 1024,
  retryDelays: Array(200).fill(150),
  headers: { Authorization: `Bearer ${token}` },
  onShouldRetry: () => true,
  onSuccess: () => console.log('done'),
  onError: (error) => {
    console.error(String(error))
    process.exitCode = 1
  },
})
upload.start()
