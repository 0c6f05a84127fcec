/** What every screen of the desk shares: the session, the API, the installation, the look, and the time of the server. */
import { computed, readonly, ref, shallowRef } from 'vue'
import { createApi } from '@/shared/api'
import { createPush } from '@/shared/notices/push'
import { createNotices } from '@/shared/notices/store'
import { createSession } from '@/shared/session'
import { setTownZone } from '@/shared/time'
import type { Installation } from '@/shared/types'

export const session = createSession('desk')
export const api = createApi(session)
export const notices = createNotices(session, api, 'desk')
export const push = createPush(api, 'desk')

export function may(permission: string): boolean {
  return session.user.value?.permissions.includes(permission) ?? false
}

const readInstallation = shallowRef<Installation | null>(null)
export const installation = readonly(readInstallation)
export const installationFailed = ref(false)

export async function loadInstallation(): Promise<void> {
  installationFailed.value = false
  try {
    const answer = await fetch('/api/v1/public/installation', { headers: { Accept: 'application/json' } })
    if (!answer.ok) throw new Error(`installation ${answer.status}`)
    const found = (await answer.json()) as Installation
    if (found.town) setTownZone(found.town.time_zone)
    readInstallation.value = found
  } catch {
    installationFailed.value = true
  }
}

// The look -----------------------------------------------------------------------------------------------------

export type Look = 'system' | 'dark' | 'light'
const LOOK_KEPT_AT = 'xungeng.desk.look'
const systemDark = ref(globalThis.matchMedia?.('(prefers-color-scheme: dark)').matches ?? true)
globalThis.matchMedia?.('(prefers-color-scheme: dark)').addEventListener('change', (event) => {
  systemDark.value = event.matches
})

function keptLook(): Look {
  try {
    const kept = localStorage.getItem(LOOK_KEPT_AT)
    return kept === 'dark' || kept === 'light' ? kept : 'system'
  } catch {
    return 'system'
  }
}

export const look = ref<Look>(keptLook())
export const dark = computed(() => (look.value === 'system' ? systemDark.value : look.value === 'dark'))

export function setLook(chosen: Look): void {
  look.value = chosen
  try {
    localStorage.setItem(LOOK_KEPT_AT, chosen)
  } catch {
    // A browser without storage keeps the look for this page alone.
  }
}

export const reducedMotion = ref(globalThis.matchMedia?.('(prefers-reduced-motion: reduce)').matches ?? false)
globalThis.matchMedia?.('(prefers-reduced-motion: reduce)').addEventListener('change', (event) => {
  reducedMotion.value = event.matches
})

// The time of the server ---------------------------------------------------------------------------------------

let skewMs = 0

/** The age of a fix is told by the server's clock: a desk computer that is minutes off must not make officers silent. */
export function setServerTime(serverTime: string): void {
  const told = Date.parse(serverTime)
  if (Number.isFinite(told)) skewMs = told - Date.now()
}
export function serverNowMs(): number {
  return Date.now() + skewMs
}

/** Ticks once a second; whatever shows an age reads it. */
const tickingMs = ref(Date.now())
export const nowMs = computed(() => tickingMs.value)
globalThis.setInterval?.(() => {
  tickingMs.value = serverNowMs()
}, 1000)
