/** Photos on the phone: hashed and stored before anything else, sent until the server has sealed them, and not lost on the way. */
import { IDBFactory } from 'fake-indexeddb'
import 'fake-indexeddb/auto'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ref } from 'vue'
import { createPhotos, meaning, NotTaken, PhotoStore, Refused, type Bring, type Photos } from '@/officer/photos'
import { Offline, Problem, type Api } from '@/shared/api'
import type { Session } from '@/shared/session'

const AT = Date.parse('2026-11-30T06:00:00Z')
/** SHA-256 of the three bytes "abc". */
const ABC = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
const settled = (check: () => void) => vi.waitFor(check, { timeout: 6_000 })
const abc = (type = 'image/jpeg') => new File(['abc'], '现场.jpg', { type })

/** A server of one officer: what reached it, and what it says of each photo. */
class Server {
  down = false
  refusing: string | null = null
  state: 'received' | 'sealed' | 'rejected' = 'sealed'
  brought: { id: string; begun: boolean; sha256: string }[] = []
  bring: Bring = async ({ id, begun, sha256 }, told) => {
    this.brought.push({ id, begun, sha256 })
    if (this.down) {
      // The announcement got through, and then nothing more.
      told.begun()
      told.progress(0.5)
      throw new Offline()
    }
    if (this.refusing) throw new Refused(this.refusing)
    told.begun()
    told.progress(1)
  }
  api = {
    get: async () => {
      if (this.down) throw new Offline()
      return { state: this.state, reason: this.state === 'rejected' ? 'not_an_image' : null }
    },
  } as unknown as Api
}

let server: Server
let photos: Photos
const user = ref<{ id: string } | null>({ id: 'officer' })
const opened = () => createPhotos({ user } as unknown as Session, server.api, { bring: (...given) => server.bring(...given), now: () => AT, random: () => 0, locks: null })

beforeEach(() => {
  globalThis.indexedDB = new IDBFactory()
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
    await new Promise((resolve) => setTimeout(resolve, 30))
    expect(server.brought).toEqual([])
  })
  it('takes back what belongs to nothing yet, and nothing else', async () => {
    await photos.begin()
    server.down = true
    const [draft, kept] = [await photos.take(abc()), await photos.take(abc())]
    await photos.keep([kept.id])
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
})

describe('sending', () => {
  it('keeps a photo until the server has sealed it', async () => {
    server.state = 'received'
    await photos.begin()
    const { id } = await photos.take(abc())
    await photos.keep([id])
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
    await photos.keep([id])
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
    await photos.keep([bad.id])
    await settled(() => expect(photos.refused.value.map(({ refusal }) => refusal)).toEqual(['off_shift']))
    server.refusing = null
    const good = await photos.take(abc())
    await photos.keep([good.id])
    await settled(() => expect(photos.mine.value.map(({ id }) => id)).toEqual([bad.id]))
    await photos.dismiss(bad.id)
    expect(photos.mine.value).toEqual([])
  })
  it('shows what was found to be no photo', async () => {
    server.state = 'rejected'
    await photos.begin()
    const { id } = await photos.take(abc())
    await photos.keep([id])
    await settled(() => expect(photos.refused.value.map(({ refusal }) => refusal)).toEqual(['not_an_image']))
  })
  it("leaves another officer's photos to him", async () => {
    server.down = true
    await photos.begin()
    await photos.keep([(await photos.take(abc())).id])
    photos.leave()
    user.value = { id: 'mate' }
    server.down = false
    const before = server.brought.length
    await photos.begin()
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(photos.mine.value).toEqual([])
    expect(server.brought).toHaveLength(before)
  })
})

describe('what an error means', () => {
  const answered = (status: number, body = '{}') => ({ originalResponse: { getStatus: () => status, getBody: () => body } })
  it('is offline without an answer, passing by its status, and a refusal otherwise', () => {
    expect(meaning(new Error('x'))).toBeInstanceOf(Offline)
    for (const status of [401, 404, 423, 429, 460, 503, 507]) expect(meaning(answered(status))).toBeInstanceOf(Problem)
    expect(meaning(answered(409, '{"code":"wrong_offset"}'))).toBeInstanceOf(Problem)
    expect(meaning(answered(409, '{"code":"id_taken"}'))).toMatchObject({ code: 'id_taken' })
    expect(meaning(answered(422, '{"code":"rejected","fault":"hash_differs"}'))).toMatchObject({ code: 'hash_differs' })
    expect(meaning(answered(413, '<html>'))).toMatchObject({ code: 'http_413' })
  })
})
