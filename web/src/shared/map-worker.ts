/**
 * The worker in which every map prepares its tiles.
 *
 * The library says once that the worker's file did not load, and then draws nothing, for ever. Files fail to load on real
 * networks, and for the moment in which the server is updated; so the worker is started anew until it lives, at growing
 * intervals and as soon as the network is back, and `mapWorkerFailed` lets a screen say so meanwhile.
 */
import { getGlobalDispatcher, setWorkerUrl } from 'maplibre-gl'
import workerUrl from 'maplibre-gl/dist/maplibre-gl-worker.mjs?worker&url'
import { readonly, ref } from 'vue'
import { fetchNewPage } from './new-page'

const FIRST_WAIT_MS = 1_000
const LONGEST_WAIT_MS = 30_000
/** A worker that is busy with a large tile answers late; one that does not live never does. */
const SIGN_OF_LIFE_MS = 3_000

const failed = ref(false)
/** No map can be drawn at present. */
export const mapWorkerFailed = readonly(failed)

let waitMs = FIRST_WAIT_MS
let timer: ReturnType<typeof setTimeout> | undefined
let trying: Promise<void> | null = null

setWorkerUrl(workerUrl)
// Also an error inside a living worker comes this way; that one answers.
getGlobalDispatcher().on('error', () => void check())
globalThis.addEventListener?.('online', () => failed.value && void retryMapWorker())

async function check(): Promise<void> {
  if (trying || timer !== undefined) return
  if (await getGlobalDispatcher().ping(SIGN_OF_LIFE_MS)) return
  await retryMapWorker()
}

/** Fetches the worker's file and starts the worker anew; the maps that are shown fill themselves. */
export function retryMapWorker(): Promise<void> {
  clearTimeout(timer)
  timer = undefined
  trying ??= attempt().finally(() => (trying = null))
  return trying
}

async function attempt(): Promise<void> {
  let alive = false
  try {
    // The library cannot tell a missing file from a dead network, and a try of its own costs every map its picture.
    const answer = await fetch(workerUrl)
    if (answer.status === 404 && fetchNewPage()) return
    if (answer.ok) {
      await getGlobalDispatcher().ensureWorkers()
      alive = await getGlobalDispatcher().ping(SIGN_OF_LIFE_MS)
    }
  } catch {
    // No network: tried again below.
  }
  failed.value = !alive
  waitMs = alive ? FIRST_WAIT_MS : Math.min(waitMs * 2, LONGEST_WAIT_MS)
  if (!alive) timer = setTimeout(() => void retryMapWorker(), waitMs)
}
