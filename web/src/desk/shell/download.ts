/** A file from the API, saved under a name that people recognise. */
import { api } from '../client'
import type { RequestOptions } from '@/shared/api'

export async function download(path: string, name: string, query?: RequestOptions['query']): Promise<void> {
  await save(await api.response('GET', path, { query, accept: '*/*', timeoutMs: 120_000 }), name)
}

/** A file that is made of what the body asks for. */
export async function downloadOf(path: string, name: string, body: unknown): Promise<void> {
  await save(await api.response('POST', path, { body, accept: '*/*', timeoutMs: 180_000 }), name)
}

async function save(answer: Response, name: string): Promise<void> {
  const url = URL.createObjectURL(await answer.blob())
  const link = document.createElement('a')
  link.href = url
  link.download = name.replace(/[\\/:*?"<>|\u0000-\u001f]/g, '_')
  document.body.append(link)
  link.click()
  link.remove()
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}
