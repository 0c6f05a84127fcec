import { IDBFactory } from 'fake-indexeddb'
import 'fake-indexeddb/auto'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ref, shallowRef } from 'vue'
import { createDispatch, inOrder, withPresses, type Dispatch } from '@/officer/dispatch'
import type { Duty } from '@/officer/duty'
import { meanwhile, nextDue } from '@/officer/task-words'
import { Offline, Problem, type Api } from '@/shared/api'
import type { Change, Changes } from '@/shared/changes'
import type { Press } from '@/shared/outbox'
import type { Session } from '@/shared/session'
import type { OfficerTask } from '@/shared/types'

function task(id: string, more: Partial<OfficerTask> = {}): OfficerTask {
  return {
    id, number: Number(id.replace(/\D/g, '')) || 1, version: 1, state: 'offered', my_state: 'offered',
    kind: { id: 'k', code: 'noise', name: { 'zh-CN': '噪声', en: 'Noise' }, priority: 'normal', checklist: [], questions: [], wants_evidence: false, reportable: true },
    priority: 'normal', description: '', place: [121.3, 31.1], place_name: null,
    area: { id: 'a', name: { 'zh-CN': '镇', en: 'Town' } } as OfficerTask['area'],
    needed: 1, accepted: 0, mates: [], by_crew: false, created_at: '2026-11-30T06:00:00Z', offered_at: '2026-11-30T06:00:00Z',
    lapses_at: '2026-11-30T06:01:30Z', accepted_at: null, departed_at: null, arrived_at: null, ended_at: null, accept_due_at: null,
    arrive_due_at: null, complete_due_at: null, overdue: null, distance_m: 300, eta_s: 200, suggests: null, suspended_by: null,
    reason: null, result: null, actions: ['accept', 'decline'], ...more,
  }
}
const press = (action: string, pressed_at = '2026-11-30T06:00:10.000Z') => ({ action, pressed_at }) as Press

/** A server of one officer: its tasks, what it is told, and whether it can be reached. */
class Server {
  tasks = new Map<string, OfficerTask>()
  told: [path: string, body: unknown, key: string | undefined][] = []
  down = false
  refusing: Problem | null = null
  private states: Record<string, Partial<OfficerTask>> = {
    accept: { my_state: 'accepted', state: 'accepted', actions: ['depart', 'arrive', 'hand_back'] },
    depart: { my_state: 'en_route', state: 'en_route', actions: ['arrive', 'hand_back'] },
    arrive: { my_state: 'on_site', state: 'on_site', actions: ['resolve', 'hand_back'] },
    decline: { my_state: 'declined', actions: [] },
  }
  put(one: OfficerTask): void {
    this.tasks.set(one.id, one)
  }
  api = {
    get: async (path: string) => {
      if (this.down) throw new Offline()
      const id = path.split('/')[5]
      if (!id) return { items: [...this.tasks.values()], next: null }
      const found = this.tasks.get(id)
      if (!found) throw new Problem({ status: 404, code: 'not_found' })
      return found
    },
    post: async (path: string, body: unknown, options?: { idempotencyKey?: string }) => {
      if (this.down) throw new Offline()
      this.told.push([path, body, options?.idempotencyKey])
      if (this.refusing) throw this.refusing
      const [, , , , , id, action] = path.split('/') as string[]
      const before = this.tasks.get(id!)!
      const after = { ...before, ...this.states[action!]!, version: before.version + 1 }
      if (action === 'decline') this.tasks.delete(id!)
      else this.put(after)
      return after
    },
  } as unknown as Api
}

let server: Server
let say: (change: Change | null) => void
let rung: string[]
let wanted: Set<string>
let open: Dispatch[]
function app(): Dispatch {
  const session = { user: ref({ id: 'zhang' }), signedIn: ref(true) } as unknown as Session
  const duty = { shift: shallowRef({ id: 'shift' }), tellFirst: () => undefined } as unknown as Duty
  const changes: Changes = {
    connected: ref(true) as unknown as Changes['connected'],
    want: (why, yes) => void (yes ? wanted.add(why) : wanted.delete(why)),
    onChange: (listener) => (say = listener),
    onNotice: () => undefined,
    ask: () => null,
  }
  const made = createDispatch(session, server.api, duty, changes, { alert: ({ id }) => void rung.push(id), now: () => Date.now() })
  open.push(made)
  return made
}
async function until(condition: () => boolean): Promise<void> {
  for (let round = 0; round < 1000; round += 1) {
    if (condition()) return
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  throw new Error('It did not come to that.')
}
beforeEach(() => {
  globalThis.indexedDB = new IDBFactory()
  localStorage.clear()
  server = new Server()
  rung = []
  wanted = new Set()
  open = []
})
afterEach(() => open.forEach((one) => one.leave()))

describe('tasks as they are shown', () => {
  it('show what presses lead to while they are not answered, and when they were made', () => {
    const shown = withPresses(task('1'), [press('accept'), press('depart', '2026-11-30T06:00:20.000Z')])
    expect(shown).toMatchObject({ my_state: 'en_route', actions: ['arrive', 'hand_back'], departed_at: '2026-11-30T06:00:20.000Z' })
    expect(withPresses(task('1', { suggests: 'arrive' }), [press('accept'), press('arrive')]).suggests).toBeNull()
    expect(withPresses(task('1'), [])).toEqual(task('1'))
  })
  it('stand in the order of what burns: offers, what is urgent, what is due', () => {
    const given = [
      task('1', { my_state: 'accepted', arrive_due_at: '2026-11-30T07:00:00Z' }),
      task('2', { my_state: 'accepted', arrive_due_at: '2026-11-30T06:30:00Z' }),
      task('3', { my_state: 'accepted', priority: 'critical' }),
      task('4', { lapses_at: '2026-11-30T06:02:00Z' }),
      task('5', { lapses_at: '2026-11-30T06:01:00Z' }),
    ]
    expect(given.sort(inOrder).map(({ number }) => number)).toEqual([5, 4, 3, 2, 1])
  })
  it('name the time that counts next', () => {
    const times = { arrive_due_at: 'a', complete_due_at: 'c' }
    expect(nextDue(task('1', times))?.kind).toBe('lapses')
    expect(nextDue(task('1', { ...times, my_state: 'en_route' }))).toEqual({ kind: 'arrive', at: 'a' })
    expect(nextDue(task('1', { ...times, my_state: 'on_site' }))).toEqual({ kind: 'complete', at: 'c' })
    expect(nextDue(task('1', { my_state: 'accepted' }))).toBeNull()
  })
  it('say in words what has happened meanwhile', () => {
    const t = (key: string) => key
    expect(meanwhile({ status: 409, code: 'wrong_state', current: 'lapsed' }, t)).toBe('tasks.meanwhile.lapsed')
    expect(meanwhile({ status: 409, code: 'not_on_shift', current: null }, t)).toBe('tasks.meanwhile.not_on_shift')
    expect(meanwhile({ status: 404, code: 'not_found', current: null }, t)).toBe('tasks.meanwhile.gone')
    expect(meanwhile({ status: 409, code: 'new_one', current: 'unheard_of' }, t)).toBe('tasks.meanwhile.other')
  })
})

describe('the dispatch store', () => {
  it('rings once for an offer, however often it is read, and again when it is offered anew', async () => {
    const dispatch = app()
    server.put(task('1'))
    await dispatch.begin()
    await dispatch.refresh()
    expect(rung).toEqual(['1'])
    server.put(task('1', { version: 3, offered_at: '2026-11-30T06:10:00Z' }))
    say({ kind: 'task', id: '1', version: 3, action: 'offer' })
    await until(() => rung.length === 2)
    // After a restart what was there is no news.
    dispatch.leave()
    server.put(task('2', { version: 1 }))
    localStorage.setItem('xungeng.officer.tasks.zhang', JSON.stringify({ v: 1, tasks: [task('2')] }))
    rung = []
    await app().begin()
    expect(rung).toEqual(['1'])
  })

  it('keeps presses over airplane mode and a restart, and sends each once with its own key and time', async () => {
    server.put(task('1'))
    let dispatch = app()
    await dispatch.begin()
    server.down = true
    await dispatch.press(dispatch.shown.value[0]!.task, 'accept')
    await dispatch.press(dispatch.shown.value[0]!.task, 'depart')
    expect(dispatch.shown.value[0]).toMatchObject({ task: { my_state: 'en_route' }, pending: [{ action: 'accept' }, { action: 'depart' }] })
    const made = dispatch.waiting.value.map(({ key, pressed_at }) => [key, pressed_at])
    // Closed without signing out: the tasks are still on the phone.
    const kept = localStorage.getItem('xungeng.officer.tasks.zhang')
    dispatch.leave()
    localStorage.setItem('xungeng.officer.tasks.zhang', kept!)
    dispatch = app()
    await dispatch.begin()
    expect(dispatch.shown.value[0]!.task.my_state).toBe('en_route')
    expect(server.told).toEqual([])
    server.down = false
    dispatch.hurry()
    await until(() => dispatch.waiting.value.length === 0)
    expect(server.told.map(([path, body, key]) => [path, key, (body as { device_at: string }).device_at])).toEqual([
      ['/api/v1/officer/tasks/1/accept', ...made[0]!],
      ['/api/v1/officer/tasks/1/depart', ...made[1]!],
    ])
    expect(dispatch.shown.value[0]).toMatchObject({ task: { my_state: 'en_route', version: 3 }, pending: [] })
  })

  it('takes two presses of a hasty thumb as one, and none that is not offered', async () => {
    server.put(task('1'))
    const dispatch = app()
    await dispatch.begin()
    server.down = true
    const { task: shown } = dispatch.shown.value[0]!
    await Promise.all([dispatch.press(shown, 'accept'), dispatch.press(shown, 'accept')])
    await dispatch.press(shown, 'accept')
    await dispatch.press(shown, 'resolve')
    expect(dispatch.waiting.value.map(({ action }) => action)).toEqual(['accept'])
  })

  it('tells what was refused, and reads the task anew', async () => {
    server.put(task('1'))
    const dispatch = app()
    await dispatch.begin()
    server.refusing = new Problem({ status: 409, code: 'wrong_state', current: 'withdrawn', actions: [] })
    server.tasks.delete('1')
    await dispatch.press(dispatch.shown.value[0]!.task, 'accept')
    await until(() => dispatch.refused.value.length === 1)
    await until(() => dispatch.shown.value.length === 0)
    expect(dispatch.refused.value[0]).toMatchObject({ about: '1', refusal: { status: 409, current: 'withdrawn' } })
    await dispatch.dismiss(dispatch.refused.value[0]!)
    expect(dispatch.refused.value).toEqual([])
  })

  it('reads what has changed, everything after a gap, and never puts an older answer over a newer one', async () => {
    server.put(task('1'))
    const dispatch = app()
    await dispatch.begin()
    expect(wanted).toEqual(new Set(['shift']))
    server.put(task('1', { version: 5, description: 'new' }))
    say({ kind: 'task', id: '1', version: 5, action: 'offer' })
    await until(() => dispatch.shown.value[0]!.task.version === 5)
    server.put(task('1', { version: 4 }))
    await dispatch.refresh()
    expect(dispatch.shown.value[0]!.task.version).toBe(5)
    server.tasks.delete('1')
    server.put(task('2'))
    say(null)
    await until(() => dispatch.byId('2') !== null)
    expect(dispatch.byId('1')).toBeNull()
  })

  it('leaves no tasks on the phone of somebody who signs out, but what he has pressed', async () => {
    server.put(task('1'))
    const dispatch = app()
    await dispatch.begin()
    expect(localStorage.getItem('xungeng.officer.tasks.zhang')).toContain('"id":"1"')
    server.down = true
    await dispatch.press(dispatch.shown.value[0]!.task, 'accept')
    dispatch.leave()
    expect(localStorage.getItem('xungeng.officer.tasks.zhang')).toBeNull()
    expect(dispatch.shown.value).toEqual([])
    const again = app()
    await again.begin()
    expect(again.waiting.value.map(({ action }) => action)).toEqual(['accept'])
  })
})
