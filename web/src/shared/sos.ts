/**
 * A call for help from this phone: stored before it is sent, sent before anything else, tried again until it is
 * answered, and then watched until somebody has come.
 *
 * It goes at once with the newest place that is known. Where none is known, or an old one, the phone is asked for a
 * better one, which follows as soon as it is there: an open call takes the newer place.
 */
import { computed, ref, shallowRef, watch } from 'vue'
import type { Api } from './api'
import type { Changes } from './changes'
import { newId } from './ids'
import { Courier, Outbox, type Press } from './outbox'
import type { Session } from './session'
import { instant } from './time'
import type { LonLat, OfficerSos, Page, ResidentSos } from './types'

export type Call = OfficerSos | ResidentSos
export type Responder = Call['responders'][number]
export interface Where {
  place: LonLat
  accuracy_m: number | null
  /** Milliseconds since the epoch, of the device. */
  t: number
}

export const HOLD_MS = 1_000
/** An older place is sent too, with its time, but a better one is looked for. */
const FRESH_MS = 30_000
const LOCATE_MS = 20_000
const TICK_MS = 5_000
/** With the live channel open the poll only makes sure. */
const RARELY = 4
const LANE = 'sos'
/** An open channel answers at once, or it is dead and does not know it yet. */
const ACKNOWLEDGED_MS = 2_500

export interface SosSurroundings {
  /** The newest place that this phone knows without asking. */
  here: () => Where | null
  geolocation: Pick<Geolocation, 'getCurrentPosition'> | null
  vibrate: (pattern: number[]) => void
  now: () => number
}

export function createSos(session: Session, api: Api, changes: Changes, audience: 'officer' | 'resident', given: Partial<SosSurroundings> = {}) {
  const path = `/api/v1/${audience}/sos`
  const around: SosSurroundings = {
    here: () => null,
    geolocation: globalThis.isSecureContext === false ? null : (globalThis.navigator?.geolocation ?? null),
    vibrate: (pattern) => void globalThis.navigator?.vibrate?.(pattern),
    now: () => Date.now(),
    ...given,
  }
  const calls = shallowRef<Call[]>([])
  const waiting = shallowRef<Press[]>([])
  const refused = shallowRef<Press[]>([])
  const where = shallowRef<Where | null>(null)
  /** The page was asked and has not been able to say how calls stand. */
  const failed = ref(false)
  const trouble = ref<'offline' | 'busy' | 'signed_out' | null>(null)
  const open = computed(() => calls.value.find(({ state }) => state === 'raised' || state === 'acknowledged' || state === 'dispatched') ?? null)
  /** Pressed, and the server does not know it yet. */
  const unsent = computed(() => waiting.value.length > 0 && open.value === null)
  const calling = computed(() => unsent.value || open.value !== null)

  let owner: string | null = null
  let outbox: Outbox | null = null
  let courier: Courier | null = null
  let timer: ReturnType<typeof setInterval> | undefined
  let ticks = 0

  async function begin(): Promise<void> {
    const user = session.user.value
    if (!user || owner === user.id) return
    leave()
    owner = user.id
    try {
      outbox = await Outbox.open(`xungeng-${audience}-presses`)
    } catch {
      // Without storage a call is sent all the same, but not remembered over a restart.
    }
    if (owner !== user.id) return
    if (outbox) {
      courier = new Courier(outbox, user.id, LANE, send, afterAnswer, { firstDelayMs: 1_000, longestDelayMs: 8_000 })
      const mine = courier
      watch(mine.state, (state) => courier === mine && (trouble.value = state.trouble), { immediate: true })
      courier.start()
    }
    globalThis.addEventListener?.('online', hurry)
    timer = setInterval(tick, TICK_MS)
    await recount()
    await read()
  }

  function leave(): void {
    courier?.stop()
    courier = null
    outbox?.close()
    outbox = null
    owner = null
    clearInterval(timer)
    globalThis.removeEventListener?.('online', hurry)
    changes.want('sos', false)
    calls.value = []
    waiting.value = []
    refused.value = []
    where.value = null
  }

  /** Over the channel where it is open: no connection has to be made first. What it does not take goes by REST, once. */
  async function send(press: Press): Promise<Call> {
    const said = changes.ask<{ status: number; body: string }>('sos', { key: press.key, body: JSON.stringify(press.body) }, ACKNOWLEDGED_MS)
    const heard = await said?.catch(() => null)
    if (heard && heard.status >= 200 && heard.status < 300) return JSON.parse(heard.body) as Call
    return api.post<Call>(press.path, press.body, { idempotencyKey: press.key, timeoutMs: 8_000, keepalive: true })
  }

  async function afterAnswer(outcome: { answer?: unknown }): Promise<void> {
    if (outcome.answer) take(outcome.answer as Call)
    await recount()
    follow()
  }

  /** Calls for help. Returns when the call is stored on this phone. */
  async function call(): Promise<void> {
    around.vibrate([250, 100, 250, 100, 250])
    const known = newest()
    where.value = known
    await say({ id: newId(), ...(known ? { place: toldPlace(known) } : {}) })
    if (!isFresh(known)) locate((found) => void say({ place: toldPlace(found) }).catch(() => undefined))
  }

  /** Asks the phone where it is, for a call that may come; nothing is told to anybody. */
  function prepare(): void {
    if (!isFresh(newest())) locate()
  }
  function newest(): Where | null {
    const here = around.here()
    return here && (!where.value || here.t >= where.value.t) ? here : where.value
  }
  function isFresh(known: Where | null): boolean {
    return known !== null && around.now() - known.t <= FRESH_MS
  }

  async function say(body: Record<string, unknown>): Promise<void> {
    if (!owner) return
    if (!outbox || !courier) {
      take(await api.post<Call>(path, { ...body, device_at: instant(around.now()) }, { timeoutMs: 8_000, keepalive: true }))
      return
    }
    await outbox.add(owner, { lane: LANE, subject: LANE, action: 'call', path, body }, around.now())
    await recount()
    courier.hurry()
    follow()
  }

  function locate(then: (found: Where) => void = () => undefined): void {
    const mine = owner
    around.geolocation?.getCurrentPosition(
      ({ coords, timestamp }) => {
        if (owner !== mine) return
        where.value = { place: [coords.longitude, coords.latitude], accuracy_m: coords.accuracy, t: timestamp }
        then(where.value)
      },
      () => undefined,
      { enableHighAccuracy: true, timeout: LOCATE_MS, maximumAge: FRESH_MS },
    )
  }

  function take(call: Call): void {
    const before = calls.value.find(({ id }) => id === call.id)
    if (before && before.version > call.version) return
    // Somebody more is coming, or has come: whoever waits feels it.
    if (before && (before.state !== call.state || comingOf(before) !== comingOf(call))) around.vibrate([120, 80, 120])
    calls.value = [call, ...calls.value.filter(({ id }) => id !== call.id)].sort((a, b) => b.number - a.number)
  }

  async function read(): Promise<void> {
    if (!owner) return
    const mine = owner
    ticks = 0
    try {
      const { items } = await api.get<Page<Call>>(path, { limit: 5 })
      if (owner !== mine) return
      failed.value = false
      for (const call of [...items].reverse()) take(call)
    } catch {
      failed.value = true
    }
    follow()
  }

  async function recount(): Promise<void> {
    if (!outbox || !owner) return
    const [sent, set] = await Promise.all([outbox.waiting(owner, LANE), outbox.refused(owner)])
    waiting.value = sent
    refused.value = set.filter(({ lane }) => lane === LANE)
  }

  function follow(): void {
    changes.want('sos', open.value !== null)
  }
  function tick(): void {
    ticks += 1
    if (open.value && (!changes.connected.value || ticks >= RARELY)) void read()
  }
  function hurry(): void {
    courier?.hurry()
    if (calling.value) void read()
  }

  changes.onChange((change) => {
    if (owner && (change === null ? calling.value : change.kind === 'alarm')) void read()
  })

  return {
    calls,
    open,
    unsent,
    calling,
    refused,
    where,
    failed,
    trouble,
    begin,
    leave,
    call,
    prepare,
    read,
    hurry,
    /** The refusal has been read. */
    async acknowledge(): Promise<void> {
      for (const { n } of refused.value) await outbox?.settle(n)
      await recount()
    },
  }
}
export type Sos = ReturnType<typeof createSos>

const comingOf = ({ responders }: Call) => responders.map(({ name, state }) => `${name} ${state}`).join()

/** Who at the desk has seen a call, for officers; null where nobody has, or one only reads that the desk has. */
export function seenBy({ acknowledged_by: by }: Call): string | null {
  return by === null || by === 'desk' ? null : by.display_name
}

function toldPlace({ place: [lon, lat], accuracy_m, t }: Where): Record<string, unknown> {
  return { lon, lat, fixed_at: instant(t), ...(accuracy_m === null ? {} : { accuracy_m: Math.min(accuracy_m, 1_000_000) }) }
}

/** Whom a phone reaches without the installation: the police, an ambulance, and the police by text message. */
export const POLICE = '110'
export const AMBULANCE = '120'
/** 12110 takes text messages for 110. */
export const POLICE_TEXTS = '12110'

/** A text message that is written already. Both kinds of phones understand `?&body=`. */
export function textMessage(number: string, body: string): string {
  return `sms:${number}?&body=${encodeURIComponent(body)}`
}
