import encodeQR from 'qr'
import { decodeQR } from 'qr/decode.js'
import { describe, expect, it } from 'vitest'
import { fenceAround, follow } from '@/officer/presence'
import type { Here } from '@/officer/recorder'
import { aboutOf, mayBegin, nextPoint, setOutOn, unexplained, withPresses } from '@/officer/rounds'
import { codeOf, readCode } from '@/officer/scan'
import type { Press } from '@/shared/outbox'
import type { LonLat, OfficerCheckpoint, OfficerPatrol, OfficerRoute } from '@/shared/types'

const METRE = 1 / 111_195
const north = (metres: number): LonLat => [121.3, 31.1 + metres * METRE]
const checkpoint = (id: string, metres: number, more: Partial<OfficerCheckpoint> = {}): OfficerCheckpoint => ({
  id, code: id, name: { 'zh-CN': id, en: id }, place: north(metres), radius_m: 20, min_dwell_s: 30, has_tag: false, questions: [], ...more,
})
const route: OfficerRoute = {
  id: 'r', number: 3, name: { 'zh-CN': '夜巡', en: 'Night' }, area: { id: 'a', name: { en: 'Town' } } as unknown as OfficerRoute['area'],
  sequence: 'fixed', allowed_s: 3600, line: null, points: 2, checkpoints: [checkpoint('east', 0), checkpoint('west', 300)],
}
const AT = '2026-12-01T10:00:00.000Z'
const patrol = (more: Partial<OfficerPatrol> = {}): OfficerPatrol => ({ ...setOutOn(route, 'p', AT), ...more })
const press = (action: string, path: string, body: Record<string, unknown> = {}): Press =>
  ({ action, path: `/api/v1/officer/patrols/${path}`, body, pressed_at: AT }) as Press
const here = (metres: number, t: number, more: Partial<Here> = {}): Here => ({ place: north(metres), accuracy_m: 5, heading_deg: null, speed_mps: 0, t, ...more })

describe('presses on rounds', () => {
  it('belong to a patrol and a point, and a scan to none until it is answered', () => {
    expect(aboutOf(press('skip', 'p/points/east/skip'))).toEqual({ patrolId: 'p', checkpointId: 'east' })
    expect(aboutOf(press('end_early', 'p/end-early'))).toEqual({ patrolId: 'p', checkpointId: null })
    expect(aboutOf({ action: 'set_out', path: '/api/v1/officer/patrols', body: { patrol_id: 'p' } })).toEqual({ patrolId: 'p', checkpointId: null })
    expect(aboutOf({ action: 'scan', path: '/api/v1/officer/visits', body: {} })).toBeNull()
  })
  it('lead at once to what the server will say, one after the other', () => {
    const shown = withPresses(patrol(), [press('skip', 'p/points/east/skip', { reason: 'locked' }), press('answer', 'p/points/west/answer', { answers: { lock: true, meter: ['one', 'two'] }, evidence_ids: ['two', 'three'] }), press('finish', 'p/finish')])
    expect(shown.points.map(({ state }) => state)).toEqual(['skipped', 'pending'])
    expect(shown.points[1]).toMatchObject({ answers: { lock: true }, answered_at: AT, evidence_ids: ['one', 'two', 'three'] })
    expect(shown).toMatchObject({ state: 'completed', ended_at: AT })
    expect(shown.actions).not.toContain('finish')
    expect(shown.actions).toContain('skip')
  })
  it('do not take a visit back', () => {
    const visited = patrol({ points: patrol().points.map((point) => ({ ...point, state: 'visited' as const })) })
    expect(withPresses(visited, [press('skip', 'p/points/east/skip', { reason: 'locked' })]).points[0]!.state).toBe('visited')
  })
})

describe('a round', () => {
  it('goes on with the next point of its order, or with the nearest where there is none', () => {
    expect(nextPoint(patrol(), here(290, 0))!.checkpoint.id).toBe('east')
    expect(nextPoint(patrol({ sequence: 'any' }), here(290, 0))!.checkpoint.id).toBe('west')
    expect(nextPoint(patrol({ sequence: 'any' }), null)!.checkpoint.id).toBe('east')
    expect(nextPoint(patrol({ points: [] }), null)).toBeNull()
  })
  it('may be begun from a quarter of an hour before its time until its window is over', () => {
    const planned = patrol({ state: 'planned', actions: ['start'], start_by: '2026-12-01T11:00:00Z' })
    const at = Date.parse(AT)
    expect([-15 * 60_001, -15 * 60_000, 3_600_000, 3_600_001].map((ms) => mayBegin(planned, at + ms))).toEqual([false, true, true, false])
    expect(mayBegin({ ...planned, actions: [] }, at)).toBe(false)
  })
  it('is to be explained where it was late, missed or not whole, and for each time off its way, until it is', () => {
    const over = patrol({ state: 'completed', actions: ['explain'], points: [] })
    expect(unexplained(over)).toEqual([])
    expect(unexplained({ ...over, late_at: AT })).toEqual([{ deviationId: null }])
    expect(unexplained({ ...over, late_at: AT, explanation: 'a task' })).toEqual([])
    expect(unexplained({ ...over, points: patrol().points })).toEqual([{ deviationId: null }])
    const deviations = [{ id: 'd', began_at: AT, ended_at: null, furthest_m: 90, explanation: null }]
    expect(unexplained({ ...over, deviations })).toEqual([{ deviationId: 'd' }])
    expect(unexplained({ ...over, deviations, actions: [] })).toEqual([])
  })
})

describe('being at a point, as the phone knows it', () => {
  const fences = route.checkpoints
  it('is inside the fence for who moves, and the error is granted to who stands', () => {
    expect(fenceAround(here(19, 0, { speed_mps: 1.5 }), fences)?.id).toBe('east')
    expect(fenceAround(here(24, 0, { speed_mps: 1.5 }), fences)).toBeNull()
    expect(fenceAround(here(24, 0), fences)?.id).toBe('east')
    expect(fenceAround(here(70, 0, { accuracy_m: 500 }), fences)).toBeNull()
  })
  it('goes on over a fix that has gone astray, and not over one that has left', () => {
    let stay = follow(null, here(0, 1_000), fences)
    stay = follow(stay, here(5, 11_000), fences)
    expect(stay).toEqual({ checkpointId: 'east', since: 1_000, until: 11_000 })
    stay = follow(stay, here(120, 16_000), fences)
    stay = follow(stay, here(0, 21_000), fences)
    expect(stay).toEqual({ checkpointId: 'east', since: 1_000, until: 21_000 })
    expect(follow(stay, here(120, 40_000), fences)).toBeNull()
    expect(follow(stay, here(300, 60_000), fences)).toEqual({ checkpointId: 'west', since: 60_000, until: 60_000 })
  })
  it('begins anew after a time without fixes', () => {
    expect(follow({ checkpointId: 'east', since: 0, until: 0 }, here(0, 300_000), fences)).toEqual({ checkpointId: 'east', since: 300_000, until: 300_000 })
  })
})

describe('a code', () => {
  const origin = 'https://patrol.example'
  const token = 'Ab3_-9xyKLmnop0123456w'
  const plain = { token, picc_data: null, cmac: null }
  it('is one of ours by its address, or a token alone', () => {
    expect(readCode(`${origin}/c/${token}`, origin)).toEqual({ code: plain })
    expect(readCode(` ${token}\n`, origin)).toEqual({ code: plain })
    expect(readCode(`${origin}/t/${token}?picc_data=${'aB'.repeat(16)}&cmac=${'0'.repeat(16)}`, origin)).toEqual({
      code: { token, picc_data: 'aB'.repeat(16), cmac: '0'.repeat(16) },
    })
  })
  it.each([
    [`https://patrol.example.evil/c/${token}`, 'foreign'],
    [`http://patrol.example/c/${token}`, 'foreign'],
    [`javascript:alert('${token}')`, 'foreign'],
    [`${origin}/c/`, 'unreadable'],
    [`${origin}/officer/c/${token}`, 'unreadable'],
    [`${origin}/t/${token}?picc_data=${'aB'.repeat(16)}`, 'unreadable'],
    [`${origin}/t/${token}?picc_data=xx&cmac=${'0'.repeat(16)}`, 'unreadable'],
    ['http://[', 'unreadable'],
    ['买一送一', 'unreadable'],
  ])('that is not, %s, is refused in words', (text, refusal) => {
    expect(readCode(text, origin)).toEqual({ refusal })
  })
  it('is found in a grey, noisy picture by the decoder that comes along, and none where there is none', () => {
    const modules = encodeQR(`${origin}/c/${token}`, 'raw', { scale: 5, border: 6 })
    const size = modules.length
    const picture = (dark: (x: number, y: number) => boolean) => {
      const data = new Uint8ClampedArray(size * size * 4)
      for (let at = 0; at < size * size; at++) {
        const noise = (at * 2_654_435_761) % 23
        data.fill((dark(at % size, Math.floor(at / size)) ? 60 : 190) + noise, at * 4, at * 4 + 3)
        data[at * 4 + 3] = 255
      }
      return { width: size, height: size, data }
    }
    expect(readCode(decodeQR(picture((x, y) => modules[y]![x]!)), origin)).toEqual({ code: plain })
    expect(() => decodeQR(picture((x, y) => (x * y) % 7 === 0))).toThrow()
  })
  it('of a tag that signs is whole or nothing', () => {
    expect(codeOf(token)).toEqual(plain)
    expect(codeOf(token, { cmac: '0'.repeat(16) })).toBeNull()
    expect(codeOf('short')).toBeNull()
  })
})
