/** Photos on the phone: hashed and stored before anything else, sent until the server has sealed them, and not lost on the way. */
import { IDBFactory } from 'fake-indexeddb'
import 'fake-indexeddb/auto'
import { openDB } from 'idb'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ref } from 'vue'
import { createPhotos, kindOf, meaning, NotTaken, PhotoStore, Refused, type Bring, type Photo, type Photos, type PhotoSurroundings } from '@/officer/photos'
import { Recording, typeFor } from '@/officer/recording'
import { Offline, Problem, type Api } from '@/shared/api'
import type { Change } from '@/shared/changes'
import type { Session } from '@/shared/session'

const AT = Date.parse('2026-11-30T06:00:00Z')
/** SHA-256 of the three bytes "abc". */
const ABC = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
const settled = (check: () => void) => vi.waitFor(check, { timeout: 6_000 })
const abc = (type = 'image/jpeg', lastModified = AT) => new File(['abc'], '现场.jpg', { type, lastModified })

/** A server of one officer: what reached it, and what it says of each photo. */
class Server {
  down = false
  refusing: string | null = null
  busy = new Set<string>()
  asked = 0
  state: 'received' | 'sealed' | 'rejected' = 'sealed'
  brought: { id: string; begun: boolean; sha256: string }[] = []
  bring: Bring = async ({ id, begun, sha256 }, _blob, told) => {
    this.brought.push({ id, begun, sha256 })
    if (this.down) {
      // The announcement got through, and then nothing more.
      told.begun()
      told.progress(0.5)
      throw new Offline()
    }
    if (this.busy.has(id)) throw new Problem({ status: 503, code: 'unavailable' })
    if (this.refusing) throw new Refused(this.refusing)
    told.begun()
    told.progress(1)
  }
  api = {
    get: async () => {
      this.asked += 1
      if (this.down) throw new Offline()
      return { state: this.state, reason: this.state === 'rejected' ? 'not_an_image' : null }
    },
  } as unknown as Api
}

let server: Server
let photos: Photos
const user = ref<{ id: string } | null>({ id: 'officer' })
let now = AT
let changed: (change: Change | null) => void
const changes = { onChange: (listener: typeof changed) => void (changed = listener) }
const opened = (more: Partial<PhotoSurroundings> = {}) =>
  createPhotos({ user } as unknown as Session, server.api, changes, { bring: (...given) => server.bring(...given), now: () => now, random: () => 0, locks: null, ...more })
const filed = async () => undefined
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

beforeEach(() => {
  globalThis.indexedDB = new IDBFactory()
  localStorage.clear()
  now = AT
  user.value = { id: 'officer' }
  server = new Server()
  URL.createObjectURL = () => 'blob:x'
  URL.revokeObjectURL = () => undefined
  photos = opened()
})
afterEach(() => photos.leave())

describe('taking', () => {
  it('hashes a photo and stores it with its moment before anything is sent', async () => {
    await photos.begin()
    const taken = await photos.take(abc())
    expect(taken.sha256).toBe(ABC)
    expect(taken.captured_at).toBe('2026-11-30T06:00:00.000Z')
    expect(taken.id[14]).toBe('7')
    const [kept] = await (await PhotoStore.open()).of('officer')
    expect([kept!.id, kept!.state, kept!.name]).toEqual([taken.id, 'draft', '现场.jpg'])
    await pause(30)
    expect(server.brought).toEqual([])
  })
  it('takes back what belongs to nothing yet, and nothing else', async () => {
    await photos.begin()
    server.down = true
    const [draft, kept] = [await photos.take(abc()), await photos.take(abc())]
    await photos.keep([kept.id], filed)
    await photos.discard(draft.id)
    await photos.discard(kept.id)
    expect(photos.mine.value.map(({ id }) => id)).toEqual([kept.id])
  })
  it('says why it cannot take one', async () => {
    await expect(photos.take(abc())).rejects.toThrow(NotTaken)
    await photos.begin()
    await expect(photos.take(abc('image/heic'))).rejects.toMatchObject({ why: 'type' })
    vi.stubGlobal('crypto', { ...globalThis.crypto, subtle: undefined })
    await expect(photos.take(abc())).rejects.toMatchObject({ why: 'insecure' })
    vi.unstubAllGlobals()
  })
  it('takes what was just taken, and no older picture', async () => {
    await photos.begin()
    await photos.take(abc('image/jpeg', AT - 4 * 60_000))
    await expect(photos.take(abc('image/jpeg', AT - 6 * 60_000))).rejects.toMatchObject({ why: 'old' })
    expect(photos.mine.value).toHaveLength(1)
  })
})

describe('recordings', () => {
  /** A recorder that hands out what it is given, piece by piece, as browsers do. */
  class FakeRecorder extends EventTarget {
    static last: FakeRecorder
    state: 'inactive' | 'recording' = 'inactive'
    constructor(
      readonly stream: MediaStream,
      readonly options: MediaRecorderOptions,
    ) {
      super()
      FakeRecorder.last = this
    }
    start(): void {
      this.state = 'recording'
    }
    hand(text: string): void {
      this.dispatchEvent(Object.assign(new Event('dataavailable'), { data: new Blob([text]) }))
    }
    stop(): void {
      this.state = 'inactive'
      this.dispatchEvent(new Event('stop'))
    }
    static isTypeSupported = (type: string) => type === 'video/webm' || type === 'audio/mp4'
  }
  afterEach(() => vi.unstubAllGlobals())

  it('hashes a film while it is recorded, and keeps it as it was handed out', async () => {
    vi.stubGlobal('MediaRecorder', FakeRecorder)
    const recording = new Recording({} as MediaStream, 'video', 'video/webm', () => AT - 60_000)
    for (const piece of ['a', '', 'bc']) FakeRecorder.last.hand(piece)
    recording.stop()
    const made = await recording.done
    expect([made.sha256, await made.blob.text(), made.blob.type]).toEqual([ABC, 'abc', 'video/webm'])
    await photos.begin()
    const kept = await photos.record({ ...made, poster: null })
    expect([kept.name, kept.type, kept.captured_at, kindOf(kept)]).toEqual(['video.webm', 'video/webm', '2026-11-30T05:59:00.000Z', 'video'])
    expect(photos.thumbs.has(kept.id)).toBe(false)
    await photos.keep([kept.id], filed)
    await settled(() => expect(photos.mine.value).toEqual([]))
    expect(server.brought).toEqual([{ id: kept.id, begun: false, sha256: ABC }])
  })
  it('says which of the types it can write, or that it cannot', () => {
    expect([typeFor('video', FakeRecorder), typeFor('audio', FakeRecorder)]).toEqual(['video/webm', 'audio/mp4'])
    expect(typeFor('video', { isTypeSupported: () => false })).toBeNull()
    expect(typeFor('audio', undefined)).toBeNull()
  })
})

describe('pausing', () => {
  it('stops what goes up where it is, also after the app was closed, and goes on when it is resumed', async () => {
    const started: string[] = []
    const stopped: string[] = []
    const hanging: Bring = ({ id }, _blob, told) => {
      told.begun()
      started.push(id)
      return new Promise((_, reject) => told.signal.addEventListener('abort', () => (stopped.push(id), reject(new Offline()))))
    }
    photos = opened({ bring: hanging })
    await photos.begin()
    const { id } = await photos.take(abc())
    await photos.keep([id], filed)
    await settled(() => expect(started).toEqual([id]))
    photos.pause()
    await settled(() => expect(stopped).toEqual([id]))
    expect([photos.paused.value, photos.trouble.value]).toEqual([true, null])
    photos.leave()
    photos = opened()
    await photos.begin()
    await pause(50)
    expect([photos.paused.value, server.brought]).toEqual([true, []])
    photos.resume()
    await settled(() => expect(photos.mine.value).toEqual([]))
    expect(server.brought).toEqual([{ id, begun: true, sha256: ABC }])
  })
})

describe('keeping what they were taken for', () => {
  it('sends them once it is kept, and not before', async () => {
    await photos.begin()
    const { id } = await photos.take(abc())
    await photos.keep([id], async () => {
      photos.hurry()
      await pause(30)
      expect(server.brought).toEqual([])
    })
    await settled(() => expect(photos.mine.value).toEqual([]))
    expect(server.brought).toHaveLength(1)
  })
  it('leaves them drafts if it is not kept', async () => {
    await photos.begin()
    const { id } = await photos.take(abc())
    const press = () => Promise.reject(new Offline())
    await expect(photos.keep([id], press)).rejects.toThrow(Offline)
    photos.hurry()
    await pause(30)
    expect(server.brought).toEqual([])
    expect(photos.mine.value.map(({ state }) => state)).toEqual(['draft'])
  })
  it('keeps nothing that names photos which are not on the phone', async () => {
    await photos.begin()
    const { id } = await photos.take(abc())
    const press = vi.fn(filed)
    await expect(photos.keep([id, 'another'], press)).rejects.toMatchObject({ why: 'gone' })
    photos.leave()
    await expect(photos.keep([id], press)).rejects.toMatchObject({ why: 'storage' })
    expect(press).not.toHaveBeenCalled()
    await photos.keep([], press)
    expect(press).toHaveBeenCalledOnce()
  })
})

describe('what stays on a phone that others use', () => {
  const DAY = 24 * 3_600_000
  const left = (id: string, owner: string, state: Photo['state']): Photo =>
    ({ v: 1, id, owner, name: '', type: 'image/jpeg', sha256: ABC, captured_at: '2026-11-30T06:00:00.000Z', state, begun: false })
  async function after(days: number): Promise<string[]> {
    const store = await PhotoStore.open()
    for (const owner of ['officer', 'mate']) {
      for (const state of ['draft', 'waiting', 'refused'] as const) await store.put(left(`${owner} ${state}`, owner, state), { blob: new Blob(['abc']), thumb: null })
    }
    now = AT + days * DAY
    server.down = true
    await photos.begin()
    const found = (await store.all()).map(({ id }) => id)
    for (const id of found) expect(await store.pixels(id)).not.toBeNull()
    expect(await store.pixels('mate draft')).toBeNull()
    store.close()
    return found.sort()
  }
  it('is no draft after a day', async () => {
    expect(await after(1.1)).toEqual(['mate refused', 'mate waiting', 'officer refused', 'officer waiting'])
  })
  it('is nothing after the time that an upload may take, but what its owner is about to send', async () => {
    expect(await after(15.1)).toEqual(['officer waiting'])
  })
})

describe('sending', () => {
  it('keeps a photo until the server has sealed it', async () => {
    server.state = 'received'
    await photos.begin()
    const { id } = await photos.take(abc())
    await photos.keep([id], filed)
    await settled(() => expect(photos.arrived.value.map((one) => one.id)).toEqual([id]))
    expect(photos.unsent.value).toEqual([])
    server.state = 'sealed'
    photos.hurry()
    await settled(() => expect(photos.mine.value).toEqual([]))
    expect(server.brought).toEqual([{ id, begun: false, sha256: ABC }])
  })
  it('goes on where it was, after the app was closed without a network', async () => {
    server.down = true
    await photos.begin()
    const { id } = await photos.take(abc())
    await photos.keep([id], filed)
    await settled(() => expect(photos.trouble.value).toBe('offline'))
    expect(photos.unsent.value).toHaveLength(1)
    photos.leave()
    server.down = false
    photos = opened()
    await photos.begin()
    await settled(() => expect(photos.mine.value).toEqual([]))
    expect(server.brought.at(-1)).toEqual({ id, begun: true, sha256: ABC })
  })
  it('sets aside what the server does not take, and sends the others', async () => {
    server.refusing = 'off_shift'
    await photos.begin()
    const bad = await photos.take(abc())
    await photos.keep([bad.id], filed)
    await settled(() => expect(photos.refused.value.map(({ refusal }) => refusal)).toEqual(['off_shift']))
    server.refusing = null
    const good = await photos.take(abc())
    await photos.keep([good.id], filed)
    await settled(() => expect(photos.mine.value.map(({ id }) => id)).toEqual([bad.id]))
    await photos.dismiss(bad.id)
    expect(photos.mine.value).toEqual([])
  })
  it('shows what was found to be no photo', async () => {
    server.state = 'rejected'
    await photos.begin()
    const { id } = await photos.take(abc())
    await photos.keep([id], filed)
    await settled(() => expect(photos.refused.value.map(({ refusal }) => refusal)).toEqual(['not_an_image']))
  })
  it('sends the others while the server is busy with one', async () => {
    await photos.begin()
    const [stuck, other] = [await photos.take(abc()), await photos.take(abc())]
    server.busy.add(stuck.id)
    await photos.keep([stuck.id, other.id], filed)
    await settled(() => expect(photos.mine.value.map(({ id }) => id)).toEqual([stuck.id]))
    await settled(() => expect(photos.trouble.value).toBe('busy'))
    server.busy.clear()
    photos.hurry()
    await settled(() => expect(photos.mine.value).toEqual([]))
  })
  it('asks less and less often of one that is looked at, and at once when there is news of it', async () => {
    server.state = 'received'
    await photos.begin()
    const { id } = await photos.take(abc())
    await photos.keep([id], filed)
    await settled(() => expect(server.asked).toBe(1))
    server.state = 'sealed'
    changed({ kind: 'evidence', id: 'another', version: 2, action: 'seal' })
    await pause(30)
    expect(server.asked).toBe(1)
    changed({ kind: 'evidence', id, version: 3, action: 'seal' })
    await settled(() => expect(photos.mine.value).toEqual([]))
  })
  it('goes on after a phone that could not write', async () => {
    await photos.begin()
    const { id } = await photos.take(abc())
    const change = vi.spyOn(PhotoStore.prototype, 'change').mockRejectedValue(new DOMException('full', 'QuotaExceededError'))
    await photos.keep([id], filed)
    await settled(() => expect(photos.trouble.value).toBe('storage'))
    expect(photos.unsent.value).toHaveLength(1)
    change.mockRestore()
    photos.hurry()
    await settled(() => expect(photos.mine.value).toEqual([]))
    expect(photos.trouble.value).toBeNull()
  })
  it('sends from each of two tabs, one at a time', async () => {
    let turn: Promise<unknown> = Promise.resolve()
    const locks = { request: (_name: string, _options: unknown, work: () => Promise<unknown>) => (turn = turn.then(work, work)) } as unknown as LockManager
    photos.leave()
    photos = opened({ locks })
    const second = opened({ locks })
    await photos.begin()
    await second.begin()
    const { id } = await second.take(abc())
    await second.keep([id], filed)
    await settled(() => expect(second.mine.value).toEqual([]))
    expect(server.brought.map((one) => one.id)).toEqual([id])
    second.leave()
  })
  it('sends what the release before has left on the phone (F26)', async () => {
    photos.leave()
    const db = await openDB('xungeng-officer-photos', 1, {
      upgrade: (database) => void database.createObjectStore('photos', { keyPath: 'id' }).createIndex('of', 'owner'),
    })
    await db.put('photos', {
      v: 1, id: 'old', owner: 'officer', name: '', type: 'image/jpeg', sha256: ABC, captured_at: '2026-11-30T06:00:00.000Z',
      state: 'waiting', begun: true, blob: new Blob(['abc']), thumb: null,
    })
    db.close()
    await photos.begin()
    await settled(() => expect(server.brought).toEqual([{ id: 'old', begun: true, sha256: ABC }]))
    await settled(() => expect(photos.mine.value).toEqual([]))
  })
  it("leaves another officer's photos to him", async () => {
    server.down = true
    await photos.begin()
    await photos.keep([(await photos.take(abc())).id], filed)
    photos.leave()
    user.value = { id: 'mate' }
    server.down = false
    const before = server.brought.length
    await photos.begin()
    await pause(50)
    expect(photos.mine.value).toEqual([])
    expect(server.brought).toHaveLength(before)
  })
})

describe('what an error means', () => {
  const answered = (status: number, body = '{}', after = '') => ({ originalResponse: { getStatus: () => status, getBody: () => body, getHeader: () => after } })
  it('is offline without an answer, passing by its status, and a refusal otherwise', () => {
    expect(meaning(new Error('x'))).toBeInstanceOf(Offline)
    for (const status of [401, 404, 423, 429, 460, 503, 507]) expect(meaning(answered(status))).toBeInstanceOf(Problem)
    expect(meaning(answered(409, '{"code":"wrong_offset"}'))).toBeInstanceOf(Problem)
    expect(meaning(answered(409, '{"code":"id_taken"}'))).toMatchObject({ code: 'id_taken' })
    expect(meaning(answered(422, '{"code":"rejected","fault":"hash_differs"}'))).toMatchObject({ code: 'hash_differs' })
    expect(meaning(answered(503, '<html>', '30'))).toMatchObject({ code: 'http_503', retryAfterS: 30 })
    expect(meaning(answered(429, '{"code":"too_many","retry_after_s":5}'))).toMatchObject({ retryAfterS: 5 })
    expect(meaning(answered(413, '<html>'))).toMatchObject({ code: 'http_413' })
  })
})
