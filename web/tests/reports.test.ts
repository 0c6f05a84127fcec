/** The officer's reports: kept on the phone before they are sent, sent once with his own clock, and where they stand. */
import { IDBFactory } from 'fake-indexeddb'
import 'fake-indexeddb/auto'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ref } from 'vue'
import { createReports, type Found, type Reports } from '@/officer/reports'
import { Offline, Problem, type Api } from '@/shared/api'
import type { Change, Changes } from '@/shared/changes'
import type { Session } from '@/shared/session'
import type { OfficerReport, OfficerTaskKind } from '@/shared/types'

const KIND: OfficerTaskKind = {
  id: 'k1', code: 'facility', name: { 'zh-CN': '设施', en: 'Facility' }, priority: 'low', checklist: [], questions: [], wants_evidence: true,
  reportable: true,
}
const AT = Date.parse('2026-11-30T06:00:00Z')
const found = (more: Partial<Found> = {}): Found => ({ kind: KIND, how: 'handled', note: '', place: { place: [121.3, 31.1], accuracy_m: 7, t: AT }, ...more })

/** A server of one officer: what it was told, by which key, and whether it can be reached. */
class Server {
  told = new Map<string, Record<string, unknown>>()
  asked = 0
  down = false
  refusing: Problem | null = null
  reports: OfficerReport[] = []
  api = {
    get: async (path: string) => {
      if (this.down) throw new Offline()
      if (path.endsWith('/task-kinds')) return { items: [KIND, { ...KIND, id: 'k2', code: 'sos', reportable: false }], next: null }
      this.asked += 1
      return { items: [...this.reports].reverse(), next: null }
    },
    post: async (_path: string, body: Record<string, unknown>, options: { idempotencyKey: string }) => {
      if (this.down) throw new Offline()
      if (this.refusing) throw this.refusing
      const again = this.told.has(options.idempotencyKey)
      this.told.set(options.idempotencyKey, body)
      const id = `r-${options.idempotencyKey}`
      const made = { id, number: this.told.size, version: 1, state: 'closed', filed_at: `2026-11-30T06:0${this.told.size}:00Z` } as OfficerReport
      if (!again) this.reports.push(made)
      return made
    },
  } as unknown as Api
}

let server: Server
let reports: Reports
let heard: (change: Change | null) => void
const user = ref<{ id: string } | null>({ id: 'officer' })
const settled = (check: () => void) => vi.waitFor(check, { timeout: 4_000 })

function opened(): Reports {
  const changes = { onChange: (listener: typeof heard) => (heard = listener) } as unknown as Changes
  return createReports({ user } as unknown as Session, server.api, changes, () => AT)
}
beforeEach(() => {
  globalThis.indexedDB = new IDBFactory()
  localStorage.clear()
  server = new Server()
  reports = opened()
})
afterEach(() => reports.leave())

describe('filing', () => {
  it('sends what was found once, with the phone’s own clock and the place as it was measured', async () => {
    await reports.begin()
    await reports.file(found({ note: ' 井盖翘起 ' }))
    await settled(() => expect(reports.waiting.value).toEqual([]))
    expect([...server.told.values()]).toEqual([
      {
        kind_id: 'k1', how: 'handled', note: '井盖翘起', device_at: '2026-11-30T06:00:00.000Z',
        place: { lon: 121.3, lat: 31.1, accuracy_m: 7, fixed_at: '2026-11-30T06:00:00.000Z' },
      },
    ])
    expect(reports.mine.value.map(({ state }) => state)).toEqual(['closed'])
  })

  it('keeps it through a restart without a network, and sends it when there is one', async () => {
    await reports.begin()
    server.down = true
    await reports.file(found())
    await reports.file(found({ how: 'passed_on', place: null }))
    expect(reports.unsent.value.map(({ action }) => action)).toEqual(['passed_on', 'handled'])
    reports.leave()
    reports = opened()
    await reports.begin()
    expect(reports.unsent.value).toHaveLength(2)
    expect(server.told.size).toBe(0)
    server.down = false
    reports.hurry()
    await settled(() => expect(reports.waiting.value).toEqual([]))
    expect([...server.told.values()].map(({ how, place }) => [how, place !== undefined])).toEqual([['handled', true], ['passed_on', false]])
  })

  it('tells what was not taken, until it is read, and sends what came after it', async () => {
    await reports.begin()
    server.refusing = new Problem({ status: 422, code: 'invalid' })
    await reports.file(found())
    await settled(() => expect(reports.refused.value).toHaveLength(1))
    server.refusing = null
    await reports.file(found())
    await settled(() => expect(server.told.size).toBe(1))
    await reports.dismiss(reports.refused.value[0]!)
    expect(reports.refused.value).toEqual([])
  })

  it('leaves nothing of his on the phone for the next who signs in', async () => {
    await reports.begin()
    server.down = true
    await reports.file(found())
    reports.leave()
    user.value = { id: 'another' }
    reports = opened()
    await reports.begin()
    expect(reports.unsent.value).toEqual([])
    user.value = { id: 'officer' }
  })
})

describe('what is shown', () => {
  it('offers the kinds that may be reported, without a network those of the last time', async () => {
    await reports.begin()
    expect(reports.kinds.value.map(({ code }) => code)).toEqual(['facility'])
    server.down = true
    expect(opened().kinds.value.map(({ code }) => code)).toEqual(['facility'])
  })

  it('reads the list anew when a report of his has changed, and not for his own news', async () => {
    await reports.begin()
    await reports.file(found())
    await settled(() => expect(reports.mine.value).toHaveLength(1))
    const { id } = reports.mine.value[0]!
    const before = server.asked
    heard({ kind: 'report', id, version: 1, action: 'settle' })
    heard({ kind: 'task', id, version: 9, action: 'offer' })
    expect(server.asked).toBe(before)
    server.reports = server.reports.map((one) => ({ ...one, version: 2, state: 'answered', outcome: 'handled' }) as OfficerReport)
    heard({ kind: 'report', id, version: 2, action: 'answer' })
    await settled(() => expect(reports.mine.value[0]?.state).toBe('answered'))
  })
})
