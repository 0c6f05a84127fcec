/**
 * Photos and recordings that wait on this phone until the server has them and has sealed them.
 *
 * A photo is hashed and written to IndexedDB before anything else happens to it, with its id and its moment; from then
 * on none of the three changes. It goes up in parts (tus), so that a network that comes and goes costs a part and never
 * the whole, and goes on where it stopped, also after the app was closed. It leaves the phone's store when the server
 * has compared the hash and found a picture. The envelope has a version, so that an older release's photos still go.
 * The pixels lie beside it: how far a photo has come is written down also on a phone that has no room for a second copy.
 */
import { openDB, type DBSchema, type IDBPDatabase } from 'idb'
import { computed, reactive, ref, shallowRef } from 'vue'
import { explain, Offline, Problem, type Api } from '@/shared/api'
import type { Changes } from '@/shared/changes'
import { newId } from '@/shared/ids'
import { EVERYTHING, Patience, Sleep } from '@/shared/patience'
import type { Session } from '@/shared/session'
import { instant } from '@/shared/time'
import type { Instant, OfficerEvidence } from '@/shared/types'
import type { Recorded } from './recording'

/** The envelope of this release. A new shape gets the next number, and `readPhoto` keeps reading this one. */
export interface Photo {
  v: 1
  /** Its name for the server and for what it is taken for, made when it was taken. */
  id: string
  owner: string
  name: string
  type: string
  sha256: string
  /** When it was added, which is at most `FRESH_MS` after it was taken. */
  captured_at: Instant
  /** `draft`: belongs to what is not filed yet. `waiting`: to be sent. `arrived`: all of it is there and is looked at. */
  state: 'draft' | 'waiting' | 'arrived' | 'refused'
  /** The server knows of it, and perhaps some of its bytes. */
  begun: boolean
  /** Why the server does not take it. */
  refusal?: string
}
/** What it is, by its type. */
export function kindOf({ type }: Pick<Photo, 'type'>): 'image' | 'video' | 'audio' {
  return type.startsWith('video/') ? 'video' : type.startsWith('audio/') ? 'audio' : 'image'
}
export interface Pixels {
  id: string
  blob: Blob
  /** A small one to be looked at on this phone, where the browser could make it. */
  thumb: Blob | null
}
interface Tables extends DBSchema {
  photos: { key: string; value: Photo; indexes: { of: string } }
  pixels: { key: string; value: Pixels }
}

const STORE = 'xungeng-officer-photos'
const UPLOADS = '/api/v1/evidence/uploads'
/** A part: small enough that a slow network brings it within the server's patience, large enough to be few. */
const PART_BYTES = 512 * 1024
const TYPES = ['image/jpeg', 'image/png', 'image/webp']
const THUMB_PX = 320
const FIRST_DELAY_MS = 2_000
const LONGEST_DELAY_MS = 60_000
/** Another tab may have stored something, or have been closed before it was sent. */
const LOOK_AGAIN_MS = 60_000
/** An upload of which nothing moves for so long is broken off: others wait behind it. */
const STALL_MS = 60_000
/** A file that is older than this was not taken for what is being filled in. */
const FRESH_MS = 5 * 60_000
/** What was taken for a form that was never filed is forgotten after a day. */
const PAUSED = 'xungeng.officer.photos.paused'
const DRAFTS_MS = 24 * 3_600_000
/** Nothing of whoever does not come back stays longer: a day more than the server lets an upload take. */
const OTHERS_MS = 15 * 24 * 3_600_000

/** Why a photo could not be taken; the word is one of `photos.failed` in the locales. */
export class NotTaken extends Error {
  constructor(readonly why: 'type' | 'insecure' | 'storage' | 'old' | 'gone') {
    super(why)
  }
}
/** A sentence for the officer about why a photo was not taken, or about what else went wrong. */
export function explainTaking(error: unknown, t: (key: string, values?: Record<string, unknown>) => string): string {
  return error instanceof NotTaken ? t(`photos.failed.${error.why}`) : explain(error, t)
}

/** An envelope of any release as one of this release, or null if a newer release wrote it. */
export function readPhoto(raw: unknown): Photo | null {
  const photo = raw as Partial<Photo> | null
  return photo && photo.v === 1 ? (photo as Photo) : null
}

export class PhotoStore {
  private constructor(private readonly db: IDBPDatabase<Tables>) {}

  static async open(name = STORE): Promise<PhotoStore> {
    const db = await openDB<Tables>(name, 2, {
      async upgrade(database, from, _to, transaction) {
        const pixels = database.createObjectStore('pixels', { keyPath: 'id' })
        if (from === 0) return void database.createObjectStore('photos', { keyPath: 'id' }).createIndex('of', 'owner')
        const photos = transaction.objectStore('photos')
        for (const { blob, thumb, ...photo } of (await photos.getAll()) as (Photo & Pixels)[]) {
          void pixels.put({ id: photo.id, blob, thumb })
          void photos.put(photo)
        }
      },
      // Another tab with a newer release must be able to upgrade the store.
      blocking: (_current, _blocked, event) => (event.target as IDBDatabase).close(),
    })
    return new PhotoStore(db)
  }
  /** It is on the phone when this returns. */
  async put(photo: Photo, pixels: Omit<Pixels, 'id'>): Promise<void> {
    const transaction = this.db.transaction(['photos', 'pixels'], 'readwrite')
    void transaction.objectStore('photos').put(photo).catch(() => undefined)
    void transaction.objectStore('pixels').put({ id: photo.id, ...pixels }).catch(() => undefined)
    await transaction.done
  }
  async change(id: string, more: Partial<Photo>): Promise<void> {
    await this.changeAll([id], more)
  }
  /** All of them or none; false if one is not here. */
  async changeAll(ids: readonly string[], more: Partial<Photo>): Promise<boolean> {
    const transaction = this.db.transaction('photos', 'readwrite')
    const found = (await Promise.all(ids.map((id) => transaction.store.get(id)))).filter((photo) => photo !== undefined)
    const all = found.length === ids.length
    if (all) for (const photo of found) void transaction.store.put({ ...photo, ...more }).catch(() => undefined)
    await transaction.done
    return all
  }
  async drop(id: string): Promise<void> {
    const transaction = this.db.transaction(['photos', 'pixels'], 'readwrite')
    void transaction.objectStore('photos').delete(id).catch(() => undefined)
    void transaction.objectStore('pixels').delete(id).catch(() => undefined)
    await transaction.done
  }
  async pixels(id: string): Promise<Pixels | null> {
    return (await this.db.get('pixels', id)) ?? null
  }
  /** Whose photos are here, in the order of their taking: their ids have it. */
  async of(owner: string): Promise<Photo[]> {
    const found = (await this.db.getAllFromIndex('photos', 'of', owner)).map(readPhoto).filter((photo) => photo !== null)
    return found.sort((a, b) => a.id.localeCompare(b.id))
  }
  /** Everybody's: whoever has been here. */
  async all(): Promise<Photo[]> {
    return (await this.db.getAll('photos')).map(readPhoto).filter((photo) => photo !== null)
  }
  close(): void {
    this.db.close()
  }
}

/** How one photo is brought up: `begun` is told once the server knows of it. Throws a refusal, or what may pass. */
export type Bring = (photo: Photo, blob: Blob, told: { begun: () => void; progress: (share: number) => void; signal: AbortSignal }) => Promise<void>

/** A refusal of the server that is about the photo, by its code; anything else is tried again. */
export class Refused extends Error {
  constructor(readonly code: string) {
    super(code)
  }
}

export interface PhotoSurroundings {
  bring: Bring
  now: () => number
  random: () => number
  /** One tab at a time sends. */
  locks: Pick<LockManager, 'request'> | null
}

export function createPhotos(session: Session, api: Api, changes: Pick<Changes, 'onChange'>, given: Partial<PhotoSurroundings> = {}) {
  const around: PhotoSurroundings = {
    bring: given.bring ?? byTus(session),
    now: given.now ?? (() => Date.now()),
    random: given.random ?? Math.random,
    locks: given.locks === undefined ? (globalThis.navigator?.locks ?? null) : given.locks,
  }
  const mine = shallowRef<Photo[]>([])
  /** How much of a photo is up, from 0 to 1. */
  const progress = reactive(new Map<string, number>())
  const thumbs = reactive(new Map<string, string>())
  /** Why something waits; `storage`: the phone does not read or write what is on it. */
  const trouble = ref<'offline' | 'busy' | 'signed_out' | 'storage' | null>(null)

  /** The officer wants nothing to go up for now, also after the app was closed: a dear network, a battery. */
  const paused = ref(globalThis.localStorage?.getItem(PAUSED) === '1')
  const unsent = computed(() => mine.value.filter(({ state }) => state === 'waiting'))
  const arrived = computed(() => mine.value.filter(({ state }) => state === 'arrived'))
  const refused = computed(() => mine.value.filter(({ state }) => state === 'refused'))

  const patience = new Patience({ firstDelayMs: FIRST_DELAY_MS, longestDelayMs: LONGEST_DELAY_MS, now: around.now, random: around.random })
  const rest = new Sleep()
  /** What they were taken for is just being kept: they do not go before it. */
  const held = new Set<string>()
  let opening: Promise<PhotoStore> | null = null
  let owner: string | null = null
  let abort = new AbortController()
  /** What goes up just now. */
  let going: AbortController | null = null

  /** Opened once more after it broke, or after another tab's newer release has closed it. */
  function shelf(): Promise<PhotoStore> {
    if (!opening) {
      const opened = PhotoStore.open()
      opened.catch(() => {
        if (opening === opened) opening = null
      })
      opening = opened
    }
    return opening
  }
  function shut(): void {
    opening?.then((store) => store.close()).catch(() => undefined)
    opening = null
  }

  async function begin(): Promise<void> {
    const user = session.user.value
    if (!user || owner === user.id) return
    leave()
    owner = user.id
    abort = new AbortController()
    const { signal } = abort
    globalThis.addEventListener('online', hurry)
    await sweep()
    await recount().catch(() => undefined)
    if (!signal.aborted) void run(signal)
  }

  /** What waits stays on the phone for his next sign-in, and not for ever. */
  function leave(): void {
    if (!owner) return
    abort.abort()
    rest.wake()
    globalThis.removeEventListener('online', hurry)
    shut()
    owner = null
    mine.value = []
    progress.clear()
    for (const url of thumbs.values()) URL.revokeObjectURL(url)
    thumbs.clear()
    trouble.value = null
    patience.clear()
  }

  /** Deletes, at each start and of everybody, drafts after a day, and the rest when its time is over but what is about to be sent. */
  async function sweep(): Promise<void> {
    try {
      const store = await shelf()
      for (const { id, state, owner: whose, captured_at } of await store.all()) {
        const age = around.now() - Date.parse(captured_at)
        const going = whose === session.user.value?.id && (state === 'waiting' || state === 'arrived')
        if (state === 'draft' ? age > DRAFTS_MS : age > OTHERS_MS && !going) await store.drop(id)
      }
    } catch {
      // A store that cannot be read is told where it is needed.
    } finally {
      if (!owner) shut()
    }
  }

  async function recount(): Promise<void> {
    const whose = owner
    if (!whose) return
    const store = await shelf()
    const found = await store.of(whose)
    for (const photo of found) {
      const { id } = photo
      if (thumbs.has(id)) continue
      const pixels = await store.pixels(id)
      // Of a recording there is what the camera saw, or nothing to look at.
      const seen = pixels?.thumb ?? (kindOf(photo) === 'image' ? pixels?.blob : null)
      if (owner === whose && seen && !thumbs.has(id)) thumbs.set(id, URL.createObjectURL(seen))
    }
    if (owner !== whose) return
    mine.value = found
    const here = new Set(found.map(({ id }) => id))
    for (const [id, url] of thumbs) {
      if (here.has(id)) continue
      URL.revokeObjectURL(url)
      thumbs.delete(id)
    }
  }

  /** Hashes a photo and stores it as a draft; it is on the phone when this returns. Throws `NotTaken`. */
  async function take(file: File): Promise<Photo> {
    const whose = owner
    const chosenAt = around.now()
    if (!whose) throw new NotTaken('storage')
    if (!TYPES.includes(file.type)) throw new NotTaken('type')
    // The camera is asked for and need not be what opens: an older picture is no picture of this.
    if (chosenAt - file.lastModified > FRESH_MS) throw new NotTaken('old')
    if (!globalThis.crypto?.subtle) throw new NotTaken('insecure')
    const bytes = await file.arrayBuffer()
    const sha256 = hex(await crypto.subtle.digest('SHA-256', bytes))
    const photo: Photo = {
      v: 1,
      id: newId(),
      owner: whose,
      name: file.name,
      type: file.type,
      sha256,
      captured_at: instant(chosenAt),
      state: 'draft',
      begun: false,
    }
    // The file of the camera may be gone by the time that there is a network: the bytes are kept.
    const pixels = { blob: new Blob([bytes], { type: file.type }), thumb: await small(file) }
    await stored(async (store) => {
      await store.put(photo, pixels)
      await recount()
    })
    return photo
  }

  /** Stores what was recorded and hashed here as a draft; it is on the phone when this returns. Throws `NotTaken`. */
  async function record({ kind, blob, sha256, startedAt, poster }: Recorded): Promise<Photo> {
    const whose = owner
    if (!whose) throw new NotTaken('storage')
    const name = `${kind}.${blob.type.includes('mp4') ? 'mp4' : 'webm'}`
    const photo: Photo = { v: 1, id: newId(), owner: whose, name, type: blob.type, sha256, captured_at: instant(startedAt), state: 'draft', begun: false }
    await stored(async (store) => {
      await store.put(photo, { blob, thumb: poster })
      await recount()
    })
    return photo
  }

  /**
   * Keeps what they were taken for, by `press`; they are sent from then on. Throws `NotTaken` if they are not on the phone,
   * before anything is pressed, or what the press throws: then they are drafts as before.
   */
  async function keep(ids: readonly string[], press: () => Promise<void>): Promise<void> {
    if (!ids.length) return await press()
    for (const id of ids) held.add(id)
    try {
      // Written down first: what is kept without them would never be joined by them.
      if (!(await stored((store) => store.changeAll(ids, { state: 'waiting' })))) throw new NotTaken('gone')
      try {
        await press()
      } catch (error) {
        await stored((store) => store.changeAll(ids, { state: 'draft' })).catch(() => undefined)
        throw error
      }
    } finally {
      for (const id of ids) held.delete(id)
      await recount().catch(() => undefined)
      rest.wake()
    }
  }
  async function stored<T>(work: (store: PhotoStore) => Promise<T>): Promise<T> {
    if (!owner) throw new NotTaken('storage')
    try {
      return await work(await shelf())
    } catch (error) {
      // A phone that is full still gives out what is on it; anything else may be cured by opening it once more.
      if (!(error instanceof DOMException && error.name === 'QuotaExceededError')) shut()
      throw new NotTaken('storage')
    }
  }
  /** Takes a photo back that belongs to nothing yet. */
  async function discard(id: string): Promise<void> {
    if (mine.value.find((photo) => photo.id === id)?.state === 'draft') await remove(id)
  }
  /** The officer has read why a photo was not taken. */
  const dismiss = (id: string) => remove(id)
  async function remove(id: string): Promise<void> {
    try {
      await (await shelf()).drop(id)
      await recount()
    } catch {
      // It stays to be seen, or is swept.
      shut()
    }
  }

  /** Nothing goes up until `resume`; what is going up stops where it is. */
  function pause(): void {
    paused.value = true
    globalThis.localStorage?.setItem(PAUSED, '1')
    going?.abort()
  }
  function resume(): void {
    paused.value = false
    globalThis.localStorage?.removeItem(PAUSED)
    hurry()
  }

  /** The network is back, or somebody asks: try everything at once. */
  function hurry(): void {
    patience.clear()
    rest.wake()
  }

  changes.onChange((change) => {
    if (change !== null && change.kind !== 'evidence') return
    const told = arrived.value.filter(({ id }) => change === null || change.id === id)
    for (const { id } of told) patience.forget(id)
    if (told.length) rest.wake()
  })

  async function run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      rest.listen()
      let due: number | 'now'
      try {
        due = await alone(signal, () => sendNext(signal))
      } catch {
        if (signal.aborted) return
        // The phone is full, its store is broken, or a newer release's tab has closed it.
        shut()
        trouble.value = 'storage'
        due = patience.wait(EVERYTHING)
      }
      if (due !== 'now' && !signal.aborted) await rest.sleep(Math.max(0, Math.min(LOOK_AGAIN_MS, due - around.now())))
    }
  }

  /** One tab at a time, and each for one photo: what is taken in another waits no longer than that. */
  async function alone<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    return around.locks ? await around.locks.request('xungeng.officer.photos', { signal }, work) : await work()
  }

  /** Sends or asks about one photo that is due; otherwise says when to look again. */
  async function sendNext(signal: AbortSignal): Promise<number | 'now'> {
    await recount()
    if (signal.aborted) return 'now'
    const open = [...(paused.value ? [] : unsent.value), ...arrived.value].filter(({ id }) => !held.has(id))
    if (!open.length) {
      trouble.value = null
      return Infinity
    }
    const next = open.find(({ id }) => patience.isDue(id))
    if (!next) {
      if (open.some(({ state }) => state === 'waiting')) trouble.value ??= 'busy'
      return Math.min(...open.map(({ id }) => patience.dueAt(id)))
    }
    try {
      if (next.state === 'waiting') await send(next, signal)
      else await ask(next)
    } catch (error) {
      if (signal.aborted) return 'now'
      await afterTrouble(next, error)
    }
    return 'now'
  }

  async function send({ id, ...photo }: Photo, signal: AbortSignal): Promise<void> {
    const store = await shelf()
    const pixels = await store.pixels(id)
    if (!pixels) throw new Refused('gone')
    const stopping = (going = new AbortController())
    const told = {
      begun: () => void store.change(id, { begun: true }).catch(() => undefined),
      progress: (share: number) => progress.set(id, share),
      signal: AbortSignal.any([signal, stopping.signal]),
    }
    try {
      await around.bring({ id, ...photo }, pixels.blob, told)
    } catch (error) {
      // All of it was there, and this phone had not written it down.
      if (!(error instanceof Problem && error.code === 'upload_complete')) throw error
    } finally {
      going = null
    }
    await store.change(id, { state: 'arrived', begun: true })
    well(id)
  }

  /** Asks what the server has found of a photo that is there; while it is looked at, less and less often. */
  async function ask({ id }: Photo): Promise<void> {
    const found = await api.get<OfficerEvidence>(`/api/v1/officer/evidence/${id}`)
    const store = await shelf()
    if (found.state === 'rejected') throw new Refused(found.reason ?? 'rejected')
    if (found.state === 'sealed') await store.drop(id)
    else if (found.state === 'uploading') await store.change(id, { state: 'waiting' })
    if (found.state === 'sealed') well(id)
    else {
      patience.forget(EVERYTHING)
      patience.wait(id)
      trouble.value = null
    }
  }
  function well(id: string): void {
    progress.delete(id)
    patience.answered(id)
    trouble.value = null
  }

  /** What passes is tried again; anything but an answer or a dead network is thrown on. */
  async function afterTrouble({ id, state }: Photo, error: unknown): Promise<void> {
    progress.delete(id)
    if (paused.value && error instanceof Offline) return
    if (error instanceof Refused) {
      await (await shelf()).change(id, { state: 'refused', refusal: error.code })
      return well(id)
    }
    if (error instanceof Offline) {
      trouble.value = 'offline'
      patience.wait(EVERYTHING)
    } else if (error instanceof Problem) {
      // Too many requests are about all of them, and so is a sign-in that is over.
      trouble.value = error.status === 401 ? 'signed_out' : 'busy'
      patience.wait([401, 429].includes(error.status) ? EVERYTHING : id, error.retryAfterS)
      if (error.status === 404 && state === 'arrived') await (await shelf()).change(id, { state: 'waiting', begun: false })
    } else throw error
  }

  return { mine, unsent, arrived, refused, progress, thumbs, trouble, paused, begin, leave, sweep, take, record, pause, resume, keep, discard, dismiss, hurry }
}
export type Photos = ReturnType<typeof createPhotos>

/** Brings a photo up by tus, from where the server says that it stands. The protocol's own part is loaded when needed. */
export function byTus(session: Session): Bring {
  return async (photo, blob, { begun, progress, signal }) => {
    const { Upload } = await import('tus-js-client').catch((error: unknown) => {
      throw new Offline(error)
    })
    const endpoint = `${globalThis.location.origin}${UPLOADS}`
    let stalled: ReturnType<typeof setTimeout> | undefined
    let stop = () => {}
    const moves = () => {
      clearTimeout(stalled)
      stalled = setTimeout(() => stop(), STALL_MS)
    }
    try {
      await new Promise<void>((resolve, reject) => {
        const upload = new Upload(blob, {
          endpoint,
          // Asked how far it is only where the server knows of it: anything else would be a look at what is not there.
          uploadUrl: photo.begun ? `${endpoint}/${photo.id}` : null,
          metadata: { id: photo.id, sha256: photo.sha256, captured_at: photo.captured_at, filename: photo.name, filetype: photo.type },
          chunkSize: PART_BYTES,
          retryDelays: [],
          storeFingerprintForResuming: false,
          onBeforeRequest: async (request) => {
            request.setHeader('Authorization', `Bearer ${await session.accessToken()}`)
            moves()
          },
          onUploadUrlAvailable: begun,
          onProgress: (sent, total) => {
            moves()
            progress(total ? sent / total : 0)
          },
          onSuccess: () => resolve(),
          onError: (error) => reject(meaning(error)),
        })
        stop = () => void upload.abort().finally(() => reject(new Offline()))
        signal.addEventListener('abort', stop, { once: true })
        moves()
        upload.start()
      })
    } catch (error) {
      if (error instanceof Problem && error.status === 401) await session.refresh()
      throw error
    } finally {
      // The signal lives as long as the sign-in: nothing of this photo hangs on it.
      signal.removeEventListener('abort', stop)
      clearTimeout(stalled)
    }
  }
}

interface Answered {
  originalResponse?: { getStatus(): number; getBody(): string; getHeader(name: string): string | undefined } | null
  causingError?: unknown
}
/** Codes of refusals that are about the moment and not about the photo. */
const PASSING = new Set(['wrong_offset', 'upload_complete'])

/** What an error of an upload means: a dead network, a server that is busy, or a photo that it does not take. */
export function meaning(error: unknown): Error {
  const { originalResponse, causingError } = error as Answered
  if (causingError instanceof Problem || causingError instanceof Offline) return causingError
  if (!originalResponse) return error instanceof Problem ? error : new Offline(error)
  const status = originalResponse.getStatus()
  let code = `http_${status}`
  let retry_after_s = Number(originalResponse.getHeader('Retry-After')) || undefined
  try {
    const told = JSON.parse(originalResponse.getBody()) as { code?: string; fault?: string; retry_after_s?: number }
    retry_after_s = told.retry_after_s ?? retry_after_s
    code = told.fault ?? told.code ?? code
  } catch {
    // A proxy's own words.
  }
  const passing = status >= 500 || [0, 401, 404, 408, 423, 425, 429, 460].includes(status) || PASSING.has(code)
  return passing ? new Problem({ status, code, retry_after_s }) : new Refused(code)
}

function hex(digest: ArrayBuffer): string {
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** A small picture of a photo; null where the browser cannot make one. */
async function small(file: Blob): Promise<Blob | null> {
  try {
    const picture = await createImageBitmap(file)
    const scale = Math.min(1, THUMB_PX / Math.max(picture.width, picture.height))
    const canvas = document.createElement('canvas')
    canvas.width = Math.max(1, Math.round(picture.width * scale))
    canvas.height = Math.max(1, Math.round(picture.height * scale))
    canvas.getContext('2d')!.drawImage(picture, 0, 0, canvas.width, canvas.height)
    picture.close()
    return await new Promise((resolve) => canvas.toBlob(resolve, 'image/jpeg', 0.8))
  } catch {
    return null
  }
}
