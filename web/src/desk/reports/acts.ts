/** What the desk does to reports. A press of which nobody knows whether it arrived is, tried again, the same press. */
import { Offline, Problem } from '@/shared/api'
import { newId } from '@/shared/ids'
import { api } from '../client'
import type { DeskReport } from '../types'
import { heard } from './current'

const uncertain = new Map<string, string>()

export async function actOnReport(id: string, name: 'look-over' | 'pass-on', body?: Record<string, unknown>): Promise<DeskReport> {
  const path = `/api/v1/desk/reports/${encodeURIComponent(id)}/${name}`
  const which = `${path} ${JSON.stringify(body ?? {})}`
  const key = uncertain.get(which) ?? newId()
  uncertain.set(which, key)
  try {
    const answer = await api.post<DeskReport>(path, body, { idempotencyKey: key })
    uncertain.delete(which)
    return answer
  } catch (error) {
    if (!(error instanceof Offline) && !(error instanceof Problem && error.status >= 500)) uncertain.delete(which)
    // Somebody else was faster: what is shown is read anew.
    if (error instanceof Problem && (error.status === 409 || error.status === 404)) heard.value += 1
    throw error
  }
}
