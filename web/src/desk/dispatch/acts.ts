/** What the desk does to tasks and alarms. The answer is taken into the feed at once, so that no press waits for the socket. */
import { explain, Offline, Problem } from '@/shared/api'
import { newId } from '@/shared/ids'
import { api } from '../client'
import type { DeskAlarm, DeskTask, Offer, TaskNew } from '../types'
import type { Schemas } from '@/shared/types'
import { dispatch } from './current'

/** Acts of which nobody knows whether they arrived: tried again, they are the same act. */
const uncertain = new Map<string, string>()

export async function act<T>(path: string, body: unknown): Promise<T> {
  const which = `${path} ${JSON.stringify(body ?? {})}`
  const key = uncertain.get(which) ?? newId()
  uncertain.set(which, key)
  try {
    const answer = await api.post<T>(path, body, { idempotencyKey: key })
    uncertain.delete(which)
    return answer
  } catch (error) {
    if (!(error instanceof Offline) && !(error instanceof Problem && error.status >= 500)) uncertain.delete(which)
    throw error
  }
}

const taskPath = (id: string) => `/api/v1/desk/tasks/${encodeURIComponent(id)}`
const alarmPath = (id: string) => `/api/v1/desk/alarms/${encodeURIComponent(id)}`

/** After a refusal that says that things have changed, what is shown is read anew. */
async function attempt<T>(kind: 'task' | 'alarm', id: string, doing: () => Promise<T>): Promise<T> {
  try {
    return await doing()
  } catch (error) {
    if (error instanceof Problem && (error.status === 409 || error.status === 404)) void dispatch.value?.fetch(kind, id)
    throw error
  }
}

export type TaskAct = 'offer' | 'reinforce' | 'reassign' | 'release' | 'cancel' | 'verify' | 'rework' | 'refer'

export async function actOnTask(id: string, name: TaskAct, body?: Record<string, unknown>): Promise<DeskTask> {
  const task = await attempt('task', id, () => act<DeskTask>(`${taskPath(id)}/${name}`, body))
  dispatch.value?.took('task', task)
  return task
}

export async function createTask(body: TaskNew): Promise<DeskTask> {
  const task = await act<DeskTask>('/api/v1/desk/tasks', body)
  dispatch.value?.took('task', task)
  return task
}

export type AlarmAct = 'acknowledge' | 'dismiss' | 'clear'

export async function actOnAlarm(id: string, name: AlarmAct, reason?: string): Promise<DeskAlarm> {
  const body = reason === undefined ? undefined : { reason }
  const alarm = await attempt('alarm', id, () => act<DeskAlarm>(`${alarmPath(id)}/${name}`, body))
  dispatch.value?.took('alarm', alarm)
  return alarm
}

export async function dispatchAlarm(id: string, body: Schemas['DeskDispatch']): Promise<DeskTask> {
  const task = await attempt('alarm', id, () => act<DeskTask>(`${alarmPath(id)}/dispatch`, body))
  dispatch.value?.took('task', task)
  void dispatch.value?.fetch('alarm', id)
  return task
}

/** An offer to people by name, or to the nearest where nobody is named. */
export function offerTo(officerIds: readonly string[], nearest = 1, busyToo = false): Offer {
  return officerIds.length > 0 ? { officer_ids: [...officerIds] } : { nearest, busy_too: busyToo }
}

const REFUSALS = new Set(['not_on_shift', 'nobody_to_ask', 'too_many_calls', 'area_not_yours', 'wrong_state', 'stale'])

/** A sentence about a refusal in the words of dispatching. */
export function explainAct(error: unknown, t: (key: string, values?: Record<string, unknown>) => string): string {
  if (error instanceof Problem) {
    if (REFUSALS.has(error.code)) return t(`dispatch.refused.${error.code}`)
    if (error.status === 412) return t('dispatch.refused.stale')
    if (error.status === 422 && error.document.errors && JSON.stringify(error.document.errors).includes('outside the town')) {
      return t('dispatch.refused.outside')
    }
  }
  return explain(error, t)
}
