/**
 * Photos that wait on this phone until the server has them and has sealed them.
 *
 * A photo is hashed and written to IndexedDB before anything else happens to it, with its id and its moment; from then
 * on none of the three changes. It goes up in parts (tus), so that a network that comes and goes costs a part and never
 * the whole, and goes on where it stopped, also after the app was closed. It leaves the phone's store when the server
 * has compared the hash and found a picture. The envelope has a version, so that an older release's photos still go.
 */
import { openDB, type DBSchema, type IDBPDatabase } from 'idb'
import { computed, reactive, ref, shallowRef } from 'vue'
import { Offline, Problem, type Api } from '@/shared/api'
import { newId } from '@/shared/ids'
import type { Session } from '@/shared/session'
import { instant } from '@/shared/time'
import type { Instant, OfficerEvidence } from '@/shared/types'

/** The envelope of this release. A new shape gets the next number, and `readPhoto` keeps reading this one. */
export interface Photo {
  v: 1
  /** Its name for the server and for what it is taken for, made when it was taken. */
  id: string
  owner: string
  blob: Blob
  /** A small one to be looked at on this phone, where the browser could make it. */
  thumb: Blob | null
  name: string
  type: string
  sha256: string
  captured_at: Instant
  /** `draft`: belongs to what is not filed yet. `waiting`: to be sent. `arrived`: all of it is there and is looked at. */
  state: 'draft' | 'waiting' | 'arrived' | 'refused'
  /** The server knows of it, and perhaps some of its bytes. */
  begun: boolean
  /** Why the server does not take it. */
  refusal?: string
}
interface Tables extends DBSchema {
  photos: { key: string; value: Photo; indexes: { of: string } }
}

const STORE = 'xungeng-officer-photos'
const UPLOADS = '/api/v1/evidence/uploads'
/** A part: small enough that a slow network brings it within the server's patience, large enough to be few. */
const PART_BYTES = 512 * 1024
const TYPES = ['image/jpeg', 'image/png', 'image/webp']
const THUMB_PX = 320
const FIRST_DELAY_MS = 2_000
const LONGEST_DELAY_MS = 60_000
const ASK_MS = 3_000
/** What was taken for a form that was never filed is forgotten after a day. */
const DRAFTS_MS = 24 * 3_600_000

/** Why a photo could not be taken; the word is one of `photos.failed` in the locales. */
export class NotTaken extends Error {
  constructor(readonly why: 'type' | 'insecure' | 'storage') {
    super(why)
  }
}

/** An envelope of any release as one of this release, or null if a newer release wrote it. */
export function readPhoto(raw: unknown): Photo | null {
  const photo = raw as Partial<Photo> | null
  return photo && photo.v === 1 ? (photo as Photo) : null
}

export class PhotoStore {
  private constructor(private readonly db: IDBPDatabase<Tables>) {}

  static async open(name = STORE): Promise<PhotoStore> {
    const db = await openDB<Tables>(name, 1, {
      upgrade(database) {
        database.createObjectStore('photos', { keyPath: 'id' }).createIndex('of', 'owner')
      },
      // Another tab with a newer release must be able to upgrade the store.
      blocking: (_current, _blocked, event) => (event.target as IDBDatabase).close(),
    })
    return new PhotoStore(db)
  }
  /** It is on the phone when this returns. */
  async put(photo: Photo): Promise<void> {
    await this.db.put('photos', photo)
  }
  async change(id: string, more: Partial<Photo>): Promise<void> {
    const transaction = this.db.transaction('photos', 'readwrite')
    const photo = await transaction.store.get(id)
    if (photo) void transaction.store.put({ ...photo, ...more })
    await transaction.done
  }
  async drop(id: string): Promise<void> {
    await this.db.delete('photos', id)
  }
  /** Whose photos are here, in the order of their taking: their ids have it. */
  async of(owner: string): Promise<Photo[]> {
    const found = (await this.db.getAllFromIndex('photos', 'of', owner)).map(readPhoto).filter((photo) => photo !== null)
    return found.sort((a, b) => a.id.localeCompare(b.id))
  }
  close(): void {
    this.db.close()
  }
}

/** How one photo is brought up: `begun` is told once the server knows of it. Throws a refusal, or what may pass. */
export type Bring = (photo: Photo, told: { begun: () => void; progress: (share: number) => void; signal: AbortSignal }) => Promise<void>

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

export function createPhotos(session: Session, api: Api, given: Partial<PhotoSurroundings> = {}) {
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
  const trouble = ref<'offline' | 'busy' | 'signed_out' | null>(null)

  const unsent = computed(() => mine.value.filter(({ state }) => state === 'waiting'))
  const arrived = computed(() => mine.value.filter(({ state }) => state === 'arrived'))
  const refused = computed(() => mine.value.filter(({ state }) => state === 'refused'))

  let store: PhotoStore | null = null
  let owner: string | null = null
  let abort = new AbortController()
  let wake: (() => void) | null = null
  let failures = 0

  async function begin(): Promise<void> {
    const user = session.user.value
    if (!user || owner === user.id) return
    leave()
    owner = user.id
    abort = new AbortController()
    const opened = await PhotoStore.open().catch(() => null)
    if (owner !== user.id) return opened?.close()
    store = opened
    await forgetDrafts()
    await recount()
    globalThis.addEventListener('online', hurry)
    void alone(user.id, abort.signal)
  }

  /** What waits stays on the phone for his next sign-in. */
  function leave(): void {
    if (!owner) return
    abort.abort()
    wake?.()
    globalThis.removeEventListener('online', hurry)
    store?.close()
    store = null
    owner = null
    mine.value = []
    progress.clear()
    for (const url of thumbs.values()) URL.revokeObjectURL(url)
    thumbs.clear()
    trouble.value = null
    failures = 0
  }

  async function recount(): Promise<void> {
    const whose = owner
    if (!store || !whose) return
    const found = await store.of(whose)
    if (owner !== whose) return
    mine.value = found
    const here = new Set(found.map(({ id }) => id))
    for (const [id, url] of thumbs) {
      if (here.has(id)) continue
      URL.revokeObjectURL(url)
      thumbs.delete(id)
    }
    for (const { id, thumb, blob } of found) if (!thumbs.has(id)) thumbs.set(id, URL.createObjectURL(thumb ?? blob))
  }

  /** Hashes a photo and stores it as a draft; it is on the phone when this returns. Throws `NotTaken`. */
  async function take(file: File): Promise<Photo> {
    const whose = owner
    if (!whose || !store) throw new NotTaken('storage')
    if (!TYPES.includes(file.type)) throw new NotTaken('type')
    if (!globalThis.crypto?.subtle) throw new NotTaken('insecure')
    const bytes = await file.arrayBuffer()
    const sha256 = hex(await crypto.subtle.digest('SHA-256', bytes))
    const photo: Photo = {
      v: 1,
      id: newId(),
      owner: whose,
      // The file of the camera may be gone by the time that there is a network: the bytes are kept.
      blob: new Blob([bytes], { type: file.type }),
      thumb: await small(file),
      name: file.name,
      type: file.type,
      sha256,
      captured_at: instant(around.now()),
      state: 'draft',
      begun: false,
    }
    try {
      await store.put(photo)
    } catch {
      throw new NotTaken('storage')
    }
    await recount()
    return photo
  }

  /** What they were taken for is filed: they are sent from now on. */
  async function keep(ids: readonly string[]): Promise<void> {
    for (const id of ids) await store?.change(id, { state: 'waiting' })
    await recount()
    hurry()
  }
  /** Takes a photo back that belongs to nothing yet. */
  async function discard(id: string): Promise<void> {
    if (mine.value.find((photo) => photo.id === id)?.state !== 'draft') return
    await store?.drop(id)
    await recount()
  }
  /** The officer has read why a photo was not taken. */
  async function dismiss(id: string): Promise<void> {
    await store?.drop(id)
    await recount()
  }
  async function forgetDrafts(): Promise<void> {
    for (const photo of (await store?.of(owner!)) ?? []) {
      if (photo.state === 'draft' && around.now() - Date.parse(photo.captured_at) > DRAFTS_MS) await store?.drop(photo.id)
    }
  }

  function hurry(): void {
    failures = 0
    wake?.()
  }

  async function alone(whose: string, signal: AbortSignal): Promise<void> {
    const work = () => run(whose, signal)
    try {
      await (around.locks ? around.locks.request('xungeng.officer.photos', { signal }, work) : work())
    } catch {
      // Told to stop while another tab sends; or the store was closed under it.
    }
  }

  async function run(whose: string, signal: AbortSignal): Promise<void> {
    while (!signal.aborted && owner === whose && store) {
      await recount()
      const next = unsent.value[0] ?? arrived.value[0]
      if (!next) {
        trouble.value = null
        await sleep(null, signal)
        continue
      }
      try {
        if (next.state === 'waiting') await send(next, signal)
        else await ask(next, signal)
      } catch (error) {
        if (signal.aborted) return
        await afterTrouble(next, error, signal)
      }
    }
  }

  async function send(photo: Photo, signal: AbortSignal): Promise<void> {
    await around.bring(photo, {
      begun: () => void store?.change(photo.id, { begun: true }),
      progress: (share) => progress.set(photo.id, share),
      signal,
    })
    failures = 0
    trouble.value = null
    progress.delete(photo.id)
    await store?.change(photo.id, { state: 'arrived', begun: true })
  }

  /** Asks what the server has found of a photo that is there. */
  async function ask(photo: Photo, signal: AbortSignal): Promise<void> {
    const found = await api.get<OfficerEvidence>(`/api/v1/officer/evidence/${photo.id}`)
    if (found.state === 'rejected') throw new Refused(found.reason ?? 'rejected')
    if (found.state === 'sealed') await store?.drop(photo.id)
    else if (found.state === 'uploading') await store?.change(photo.id, { state: 'waiting' })
    else await sleep(ASK_MS, signal)
    failures = 0
    trouble.value = null
  }

  async function afterTrouble(photo: Photo, error: unknown, signal: AbortSignal): Promise<void> {
    progress.delete(photo.id)
    if (error instanceof Refused) {
      await store?.change(photo.id, { state: 'refused', refusal: error.code })
      failures = 0
      return
    }
    if (error instanceof Problem && error.status === 404 && photo.state === 'arrived') {
      await store?.change(photo.id, { state: 'waiting', begun: false })
      return
    }
    const signedOut = error instanceof Problem && error.status === 401
    trouble.value = signedOut ? 'signed_out' : error instanceof Offline ? 'offline' : 'busy'
    const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** failures)
    failures += 1
    await sleep(ceiling * (0.5 + 0.5 * around.random()), signal)
  }

  /** Until the time is over or somebody wakes it; without a time, until there is something new. */
  function sleep(ms: number | null, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve()
      let timer: ReturnType<typeof setTimeout> | undefined
      const done = () => {
        clearTimeout(timer)
        wake = null
        resolve()
      }
      if (ms !== null) timer = setTimeout(done, ms)
      wake = done
    })
  }

  return { mine, unsent, arrived, refused, progress, thumbs, trouble, begin, leave, take, keep, discard, dismiss, hurry }
}
export type Photos = ReturnType<typeof createPhotos>

/** Brings a photo up by tus, from where the server says that it stands. The protocol's own part is loaded when needed. */
export function byTus(session: Session): Bring {
  return async (photo, { begun, progress, signal }) => {
    const { Upload } = await import('tus-js-client').catch((error: unknown) => {
      throw new Offline(error)
    })
    const endpoint = `${globalThis.location.origin}${UPLOADS}`
    await new Promise<void>((resolve, reject) => {
      const upload = new Upload(photo.blob, {
        endpoint,
        // Asked how far it is only where the server knows of it: anything else would be a look at what is not there.
        uploadUrl: photo.begun ? `${endpoint}/${photo.id}` : null,
        metadata: { id: photo.id, sha256: photo.sha256, captured_at: photo.captured_at, filename: photo.name, filetype: photo.type },
        chunkSize: PART_BYTES,
        retryDelays: [],
        storeFingerprintForResuming: false,
        onBeforeRequest: async (request) => request.setHeader('Authorization', `Bearer ${await session.accessToken()}`),
        onUploadUrlAvailable: begun,
        onProgress: (sent, total) => progress(total ? sent / total : 0),
        onSuccess: () => resolve(),
        onError: (error) => reject(meaning(error)),
      })
      signal.addEventListener('abort', () => void upload.abort().finally(() => reject(new Offline())), { once: true })
      upload.start()
    }).catch(async (error: unknown) => {
      if (error instanceof Problem && error.status === 401) await session.refresh()
      throw error
    })
  }
}

interface Answered {
  originalResponse?: { getStatus(): number; getBody(): string } | null
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
  try {
    const told = JSON.parse(originalResponse.getBody()) as { code?: string; fault?: string }
    code = told.fault ?? told.code ?? code
  } catch {
    // A proxy's own words.
  }
  const passing = status >= 500 || [0, 401, 404, 408, 423, 425, 429, 460].includes(status) || PASSING.has(code)
  return passing ? new Problem({ status, code }) : new Refused(code)
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
