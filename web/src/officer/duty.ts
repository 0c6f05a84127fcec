/**
 * An officer's duty on this phone: his shift, and with it the recorder, the queue and the sender.
 *
 * The rule that everything here serves: nothing is measured unless a shift runs, the officer has read what is recorded,
 * this page shows it, and nobody else on the phone is signed in. Ending a shift stops the measuring at once, with or
 * without a network; the server is told as soon as it can be reached.
 */
import { computed, ref, shallowRef } from 'vue'
import { Offline, online, Problem, trueNowMs, type Api } from '@/shared/api'
import { newId } from '@/shared/ids'
import { deviceName, type Session } from '@/shared/session'
import { instant } from '@/shared/time'
import type { FixBatch, FixIn, FixReceipt, Invitation, Join, Page, Shift, ShiftStart, TrackPoint, Travel } from '@/shared/types'
import type { Step } from './ground'
import { FixQueue, type Counts, type Envelope } from './queue'
import { Recorder, type Here } from './recorder'
import { Sender, type SenderState } from './sender'

/** Raise it when the notice says something new: everybody reads it again. */
export const NOTICE_VERSION = 3

export interface StartForm {
  plannedEndAt: Date | null
  areaId: string | null
  crew: { callSign: string; travel: Travel; memberIds: string[] } | null
}

interface PendingEnd {
  shift: Shift
  device_at: string
  whole_crew: boolean
  idempotency_key: string
}

const REFRESH_MS = 45_000
const FLUSH_MS = 8_000
const EMPTY: Counts = { unsent: 0, refused: 0, others: 0 }

export function createDuty(session: Session, api: Api) {
  const shift = shallowRef<Shift | null>(null)
  /** The server has been asked, or the phone has remembered. */
  const known = ref(false)
  const failed = ref(false)
  /** A shift that ended without this phone ending it. */
  const closed = shallowRef<Shift | null>(null)
  /** The numbers of the tasks because of which the server has not let the shift end. */
  const keptOn = shallowRef<number[] | null>(null)
  /** Crews whose leaders ask this officer to come on duty with them; nobody but he can answer. */
  const invitations = shallowRef<Invitation[]>([])
  const pendingEnd = shallowRef<PendingEnd | null>(null)
  const counts = ref<Counts>(EMPTY)
  const lost = ref(0)
  const storage = ref<'unknown' | 'persistent' | 'best_effort' | 'broken'>('unknown')
  /** Another tab of this browser records and sends; this one looks on. */
  const elsewhere = ref(false)
  const trail = shallowRef<Step[]>([])
  const sender = shallowRef<Sender | null>(null)
  const sending = computed<SenderState | null>(() => sender.value?.state.value ?? null)
  const noticeRead = ref(false)

  let queue: FixQueue | null = null
  let owner: string | null = null
  let leading = false
  let release: (() => void) | null = null
  let timer: ReturnType<typeof setInterval> | undefined
  let served: Step[] = []
  let asked = 0
  /** By the clock of this phone, where it has started the shift itself. */
  let beganMs = 0

  /** What has to be told before the end of a shift: a task that was resolved offline is not handed back by it. */
  const firsts: (() => Promise<unknown>)[] = []

  const recorder = new Recorder((fix, here) => void store(fix, here))

  const keptAt = (what: string) => `xungeng.officer.${what}.${owner}`
  function keep(what: string, value: unknown): void {
    try {
      if (value === null) localStorage.removeItem(keptAt(what))
      else localStorage.setItem(keptAt(what), JSON.stringify(value))
    } catch {
      // Without storage the phone remembers nothing over a restart; the server does.
    }
  }
  function recall<T>(what: string): T | null {
    try {
      return JSON.parse(localStorage.getItem(keptAt(what)) ?? 'null') as T | null
    } catch {
      return null
    }
  }

  /** Begins for the officer who is signed in: remembers, takes the lead among the tabs, asks the server. */
  async function begin(): Promise<void> {
    const user = session.user.value
    if (!user || owner === user.id) return
    await leave()
    owner = user.id
    noticeRead.value = recall<number>('notice') === NOTICE_VERSION
    pendingEnd.value = recall<PendingEnd>('pending_end')
    shift.value = pendingEnd.value ? null : recall<Shift>('shift')
    known.value = shift.value !== null
    try {
      queue = await FixQueue.open()
    } catch {
      storage.value = 'broken'
    }
    if (owner !== user.id) return
    lost.value = queue?.lost ?? 0
    trail.value = shift.value && queue ? await localTrail(shift.value.id) : []
    await recount()
    void readPersistence()
    takeLead()
    document.addEventListener('visibilitychange', onVisible)
    globalThis.addEventListener('online', onOnline)
    timer = setInterval(tick, 5_000)
    await refresh()
  }

  /** Stops everything for the one who signs out; what waits stays on the phone for his next sign-in. */
  async function leave(): Promise<void> {
    recorder.stop()
    sender.value?.stop()
    sender.value = null
    clearInterval(timer)
    document.removeEventListener('visibilitychange', onVisible)
    globalThis.removeEventListener('online', onOnline)
    release?.()
    release = null
    leading = false
    queue?.close()
    queue = null
    owner = null
    shift.value = null
    closed.value = null
    keptOn.value = null
    invitations.value = []
    pendingEnd.value = null
    known.value = false
    counts.value = EMPTY
    trail.value = []
    served = []
    elsewhere.value = false
  }

  /** One tab records and sends; the next one takes over when it is closed. */
  function takeLead(): void {
    const mine = owner
    const lead = () => {
      leading = true
      elsewhere.value = false
      startSender()
      follow()
    }
    const locks = globalThis.navigator?.locks
    if (!locks) return lead()
    const held = () =>
      new Promise<void>((resolve) => {
        if (owner !== mine) return resolve()
        release = resolve
        lead()
      })
    void locks.request('xungeng.officer.recorder', { ifAvailable: true }, async (lock) => {
      if (lock) return await held()
      if (owner !== mine) return
      elsewhere.value = true
      void locks.request('xungeng.officer.recorder', held)
    })
  }

  function startSender(): void {
    if (!queue || !owner || sender.value) return
    const send = (batch: FixBatch, gzip: boolean): Promise<FixReceipt> =>
      api.post<FixReceipt>('/api/v1/officer/fixes', batch, { gzip, timeoutMs: 30_000 })
    const post = async (batch: FixBatch, gzip: boolean): Promise<FixReceipt> => {
      try {
        return await send(batch, gzip)
      } catch (error) {
        const stranger = error instanceof Problem && error.code === 'unknown_device'
        if (!stranger || !shift.value || batch.device_id !== session.deviceId) throw error
        await bringPhone(shift.value.id)
        return await send(batch, gzip)
      }
    }
    const created = new Sender(queue, owner, post, () => void afterSending())
    sender.value = created
    created.start()
  }

  /** Another phone of this officer has started the shift: this phone joins it. */
  async function bringPhone(shiftId: string): Promise<void> {
    await api.post(`/api/v1/officer/shifts/${shiftId}/phone`, { id: session.deviceId, name: deviceName(), platform: 'web' })
  }

  let offShiftSeen = 0
  async function afterSending(): Promise<void> {
    await recount()
    const offShift = sending.value?.totals.off_shift ?? 0
    // Fixes that fall outside a shift mean that the server's idea of the shift is another one.
    if (offShift > offShiftSeen && shift.value) void refresh()
    offShiftSeen = offShift
  }

  /** Records exactly when it should. */
  function follow(): void {
    const should = leading && queue !== null && shift.value !== null && noticeRead.value && session.signedIn.value
    if (should && !recorder.running) recorder.start(beganMs)
    if (!should && recorder.running) recorder.stop()
  }

  async function store(fix: FixIn, here: Here): Promise<void> {
    const present = shift.value
    if (!present || !queue || !owner) return
    const step: Step = { t: here.t, place: here.place, accuracy_m: here.accuracy_m }
    try {
      await queue.add(owner, session.deviceId, present.id, fix)
      await queue.addToTrail({ shift_id: present.id, ...step })
    } catch {
      storage.value = 'broken'
      return
    }
    trail.value = [...trail.value, step]
    await recount()
    sender.value?.notice()
  }

  async function recount(): Promise<void> {
    if (queue && owner) counts.value = await queue.counts(owner)
  }

  async function localTrail(shiftId: string): Promise<Step[]> {
    const points = await queue!.trailOf(shiftId)
    return points.map(({ t, place, accuracy_m }) => ({ t, place, accuracy_m }))
  }

  /** What the server has of this shift: from before a reinstallation, or from a tracker app of the same officer. */
  async function readServedTrack(shiftId: string): Promise<void> {
    const steps: Step[] = []
    let cursor: string | null = null
    do {
      const page: Page<TrackPoint> = await api.get(`/api/v1/officer/shifts/${shiftId}/track`, { cursor, limit: 500 })
      for (const point of page.items) {
        if (point.flags.some((flag) => flag === 'mock' || flag === 'impossible_speed')) continue
        steps.push({ t: Date.parse(point.fixed_at), place: [point.lon, point.lat], accuracy_m: point.accuracy_m })
      }
      cursor = page.next
    } while (cursor && steps.length < 20_000)
    if (shift.value?.id !== shiftId) return
    const local = new Set(trail.value.map(({ t }) => t))
    served = steps.filter(({ t }) => !local.has(t))
    trail.value = [...served, ...trail.value.filter((step) => !served.includes(step))].sort((a, b) => a.t - b.t)
  }

  function adopt(found: Shift | null): void {
    const before = shift.value
    shift.value = found
    keep('shift', found)
    if (found && found.id !== before?.id) {
      trail.value = []
      served = []
      void (async () => {
        if (queue) {
          const mine = await localTrail(found.id)
          if (shift.value?.id === found.id && mine.length) trail.value = mine
        }
        await readServedTrack(found.id).catch(() => undefined)
      })()
    }
    if (!found) {
      trail.value = []
      void queue?.forgetTrails(null)
    }
    follow()
  }

  /** Asks the server how the shift stands. */
  async function refresh(): Promise<void> {
    if (!owner) return
    asked = Date.now()
    failed.value = false
    const mine = owner
    try {
      await tellPendingEnd()
      const found = await api.get<Shift | undefined>('/api/v1/officer/shift')
      const asks = found ? [] : (await api.get<Page<Invitation>>('/api/v1/officer/invitations', { limit: 20 })).items
      if (owner !== mine) return
      known.value = true
      invitations.value = asks
      if (found && pendingEnd.value?.shift.id === found.id) return
      const before = shift.value
      if (before && found?.id !== before.id) closed.value = await howItEnded(before)
      if (owner === mine) adopt(found ?? null)
    } catch (error) {
      if (owner !== mine) return
      failed.value = true
      if (!(error instanceof Offline || error instanceof Problem)) throw error
    }
  }

  async function howItEnded(before: Shift): Promise<Shift> {
    const recent = await api.get<Page<Shift>>('/api/v1/officer/shifts', { limit: 10 })
    return recent.items.find(({ id }) => id === before.id) ?? { ...before, state: 'ended' }
  }

  async function start(form: StartForm): Promise<void> {
    const body = (): ShiftStart => ({
      id: newId(),
      // Chosen as so many hours from now, whatever this phone's clock says.
      ...(form.plannedEndAt ? { planned_end_at: instant(form.plannedEndAt.getTime() - (Date.now() - trueNowMs())) } : {}),
      ...(form.areaId ? { area_id: form.areaId } : {}),
      device: { id: session.deviceId, name: deviceName(), platform: 'web' },
      ...(form.crew
        ? { crew: { call_sign: form.crew.callSign, travel: form.crew.travel, member_ids: form.crew.memberIds } }
        : {}),
      device_at: instant(Date.now()),
    })
    await comeOnDuty(() => api.post<Shift>('/api/v1/officer/shifts', body()))
  }

  /** Comes on duty with the crew whose leader asks. */
  async function join(invitation: Invitation): Promise<void> {
    const body = (): Join => ({
      device: { id: session.deviceId, name: deviceName(), platform: 'web' },
      device_at: instant(Date.now()),
    })
    await answering(() => comeOnDuty(() => api.post<Shift>(`/api/v1/officer/invitations/${invitation.id}/accept`, body())))
  }
  async function decline(invitation: Invitation): Promise<void> {
    await answering(() => api.post(`/api/v1/officer/invitations/${invitation.id}/decline`))
    invitations.value = invitations.value.filter(({ id }) => id !== invitation.id)
  }
  /** What another phone answered, or what has lapsed, is no longer asked. */
  async function answering(act: () => Promise<unknown>): Promise<void> {
    try {
      await act()
    } catch (error) {
      if (error instanceof Problem && error.status === 409) await refresh()
      throw error
    }
  }

  async function comeOnDuty(send: () => Promise<Shift>): Promise<void> {
    let begun: Shift
    try {
      begun = await send()
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      if (error.code === 'already_on_shift') {
        await refresh()
        if (shift.value) return
      }
      // The server knows the phone's name as another officer's device: this officer gets one of his own.
      if (error.code !== 'id_taken') throw error
      session.renewDeviceId()
      begun = await send()
    }
    closed.value = null
    invitations.value = []
    known.value = true
    beganMs = Date.now()
    adopt(begun)
    void askPersistence()
  }

  /** True when the server knows; false when it will be told later. */
  async function end(wholeCrew: boolean): Promise<{ told: boolean; unsent: number; ended: boolean }> {
    const present = shift.value
    if (!present) return { told: true, unsent: counts.value.unsent, ended: true }
    recorder.stop()
    const pending: PendingEnd = {
      shift: present,
      device_at: instant(Date.now()),
      whole_crew: wholeCrew,
      idempotency_key: newId(),
    }
    pendingEnd.value = pending
    keep('pending_end', pending)
    if (online.value) await sender.value?.flush(FLUSH_MS)
    adopt(null)
    let told = false
    try {
      await tellPendingEnd()
      told = true
    } catch (error) {
      if (!(error instanceof Offline) && !(error instanceof Problem && (error.status >= 500 || error.status === 429))) {
        throw error
      }
    }
    await recount()
    return { told, unsent: counts.value.unsent, ended: shift.value === null }
  }

  /** Tells the server of an end that it does not know yet. */
  async function tellPendingEnd(): Promise<void> {
    const pending = pendingEnd.value
    if (!pending) return
    for (const first of firsts) await first()
    const body = pending.whole_crew ? { whole_crew: true } : {}
    const tell = (more: { device_at?: string }) =>
      api.post<Shift>(`/api/v1/officer/shifts/${pending.shift.id}/end`, { ...body, ...more }, {
        idempotencyKey: pending.idempotency_key,
      })
    try {
      try {
        await tell({ device_at: pending.device_at })
      } catch (error) {
        // Who goes off duty is off duty, also with a phone whose date is wrong.
        if (!(error instanceof Problem && error.code === 'clock_wrong')) throw error
        await tell({})
      }
    } catch (error) {
      if (error instanceof Problem && error.code === 'open_tasks') {
        // The shift goes on, and with it the recording: the officer is told, and what he has to do first.
        pendingEnd.value = null
        keep('pending_end', null)
        keptOn.value = ((error.document.tasks ?? []) as { number: number }[]).map(({ number }) => number)
        adopt(pending.shift)
        return
      }
      // It has ended meanwhile, or is not ours any more: either way there is nothing left to end.
      const refused = error instanceof Problem && (error.status === 409 || error.status === 404)
      if (!refused) throw error
    }
    pendingEnd.value = null
    keep('pending_end', null)
  }

  function tick(): void {
    const present = shift.value
    if (present && trueNowMs() >= Date.parse(present.closes_at)) {
      // The server closes it at this moment, reachable or not; measuring stops with it.
      closed.value = { ...present, state: 'ended', ended_at: present.closes_at, ended_by: 'system' }
      adopt(null)
      void refresh()
      return
    }
    const due = Date.now() - asked >= REFRESH_MS
    // Off duty too: a crew's leader may ask this officer to come.
    if (due && document.visibilityState === 'visible') void refresh()
    if (elsewhere.value) void recount()
  }
  function onVisible(): void {
    if (document.visibilityState !== 'visible') return
    sender.value?.hurry()
    if (Date.now() - asked > 5_000) void refresh()
  }
  function onOnline(): void {
    sender.value?.hurry()
    void refresh()
  }

  async function readPersistence(): Promise<void> {
    if (storage.value === 'broken') return
    const persisted = await globalThis.navigator?.storage?.persisted?.().catch(() => false)
    storage.value = persisted ? 'persistent' : 'best_effort'
  }
  async function askPersistence(): Promise<void> {
    await globalThis.navigator?.storage?.persist?.().catch(() => false)
    await readPersistence()
  }

  return {
    shift,
    known,
    failed,
    closed,
    keptOn,
    invitations,
    pendingEnd,
    counts,
    lost,
    storage,
    elsewhere,
    trail,
    sending,
    noticeRead,
    recorder,
    begin,
    leave,
    refresh,
    start,
    join,
    decline,
    end,
    hurry: () => sender.value?.hurry(),
    tellFirst: (first: () => Promise<unknown>) => void firsts.push(first),
    acceptNotice() {
      noticeRead.value = true
      keep('notice', NOTICE_VERSION)
      follow()
    },
    acknowledgeLoss() {
      queue?.acknowledgeLoss()
      lost.value = 0
    },
    refusedFixes: async (): Promise<Envelope[]> => (queue && owner ? await queue.refusedOf(owner) : []),
    async discardRefused() {
      if (queue && owner) await queue.discardRefused(owner)
      await recount()
    },
  }
}

export type Duty = ReturnType<typeof createDuty>
