/** A file from the API, saved under a name that people recognise. */
import { api } from '../client'
import type { RequestOptions } from '@/shared/api'

export async function download(path: string, name: string, query?: RequestOptions['query']): Promise<void> {
  const answer = await api.response('GET', path, { query, accept: '*/*', timeoutMs: 120_000 })
  const url = URL.createObjectURL(await answer.blob())
  const link = document.createElement('a')
  link.href = url
  link.download = name.replace(/[\\/:*?"<>|\u0000-\u001f]/g, '_')
  document.body.append(link)
  link.click()
  link.remove()
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}
