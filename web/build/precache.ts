/**
 * What a phone client needs to start without a network: its page, and every file that page can come to load.
 *
 * The three clients are built together and share files; the desk's tables and charts have no business on a phone. So the
 * list is made by walking the build's manifest from the client's own entry.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

interface Chunk {
  file: string
  imports?: string[]
  dynamicImports?: string[]
  css?: string[]
  assets?: string[]
}

export function filesOf(client: string, distFolder: string): Set<string> {
  const manifest = JSON.parse(readFileSync(join(distFolder, '.vite', 'manifest.json'), 'utf8')) as Record<string, Chunk>
  const files = new Set<string>([`${client}/index.html`])
  const seen = new Set<string>()
  const walk = (key: string): void => {
    const chunk = manifest[key]
    if (!chunk || seen.has(key)) return
    seen.add(key)
    for (const file of [chunk.file, ...(chunk.css ?? []), ...(chunk.assets ?? [])]) files.add(file)
    for (const next of [...(chunk.imports ?? []), ...(chunk.dynamicImports ?? [])]) walk(next)
  }
  walk(`${client}/index.html`)
  return files
}
