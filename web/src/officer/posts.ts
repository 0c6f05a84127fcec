/**
 * The officer's posts: where he stands, what he may begin, and the colleagues whom he may relieve.
 *
 * Presses go one after the other, also from a phone without a network; until the server has answered, the page shows
 * what they lead to. How much of his time he was there only the server knows, because it goes by all of his fixes.
 */
import { computed, shallowRef, watch } from 'vue'
import type { Api } from '@/shared/api'
import type { Changes } from '@/shared/changes'
import type { Press } from '@/shared/outbox'
import type { Session } from '@/shared/session'
import type { OfficerPostDuty, Page } from '@/shared/types'
import type { Duty } from './duty'
import { keepList, recallList } from './kept'
import { createLane, newest, type Lane } from './lane'

export interface ShownDuty {
  duty: OfficerPostDuty
  /** What was pressed about it and is not answered yet, in order. */
  pending: Press[]
}

const POSTS = '/api/v1/officer/posts'
/** Every press of this lane: the courier sends those of one subject one after the other. */
const SUBJECT = 'posts'
/** So long before its time a duty may be begun. The server says no to what is earlier. */
const EARLY_MS = 15 * 60_000

export const dutyIdOf = ({ path }: Pick<Press, 'path'>): string | null => /\/officer\/posts\/([^/]+)\//.exec(path)?.[1] ?? null

/** A duty as it is once the server has taken what was pressed. */
export function withPresses(duty: OfficerPostDuty, pending: Press[]): OfficerPostDuty {
  let shown = duty
  for (const { action, body, pressed_at } of pending) {
    if (action === 'start') shown = { ...shown, state: 'standing', began_at: pressed_at, actions: ['break', 'end_early'] }
    else if (action === 'break') shown = { ...shown, breaks: [...shown.breaks, { began_at: pressed_at, ended_at: null }], actions: ['return', 'end_early'] }
    else if (action === 'return') shown = { ...shown, breaks: shown.breaks.map((one) => ({ ...one, ended_at: one.ended_at ?? pressed_at })), actions: ['break', 'end_early'] }
    else if (action === 'end') shown = { ...shown, state: 'ended', ended_at: pressed_at, actions: [] }
    else if (action === 'end_early') shown = { ...shown, state: 'ended_early', ended_at: pressed_at, reason: String(body.reason), actions: ['explain'] }
    else if (action === 'hand_over') shown = { ...shown, state: 'relieved', ended_at: pressed_at, actions: [] }
    else if (action === 'take_over') shown = { ...shown, asked_by_me: true, actions: [] }
    else if (action === 'explain') {
      const text = String(body.text)
      shown = body.absence_id ? { ...shown, absences: shown.absences.map((one) => (one.id === body.absence_id ? { ...one, explanation: text } : one)) } : { ...shown, explanation: text }
    }
  }
  return shown
}

export const isOnBreak = ({ breaks, state }: OfficerPostDuty) => state === 'standing' && breaks.some(({ ended_at }) => ended_at === null)

export function mayBegin({ actions, starts_at, ends_at }: OfficerPostDuty, now: number): boolean {
  return actions.includes('start') && now >= Date.parse(starts_at) - EARLY_MS && now < Date.parse(ends_at)
}

/** What nobody has explained yet: the duty itself, and each time away from the post. */
export function unexplained(duty: OfficerPostDuty): (string | null)[] {
  if (!duty.actions.includes('explain')) return []
  const lacking = duty.missed_at !== null || duty.late_at !== null || duty.state === 'ended_early'
  return [...(lacking && !duty.explanation ? [null] : []), ...duty.absences.filter(({ explanation }) => !explanation).map(({ id }) => id)]
}

export function createPosts(session: Session, api: Api, duty: Duty, changes: Changes, around: { now: () => number }) {
  const served = shallowRef<OfficerPostDuty[]>([])
  const keptAt = () => `xungeng.officer.posts.${lane.owner.value}`
  const lane: Lane = createLane<OfficerPostDuty>(session, api, changes, {
    lane: 'posts',
    now: around.now,
    arrive() {
      served.value = recallList(keptAt(), 'posts')
      lane.known.value = served.value.length > 0
    },
    depart: () => show([]),
    refresh,
    take,
    // A relief changes two duties, and a refusal says that one is another by now.
    answered: async ({ press, problem }) => {
      if (problem || press.action === 'take_over' || press.action === 'hand_over') await refresh()
    },
    polled: () => duty.shift.value !== null || lane.waiting.value.length > 0,
  })
  const shown = computed<ShownDuty[]>(() =>
    served.value.map((one) => {
      const pending = lane.waiting.value.filter((press) => dutyIdOf(press) === one.id)
      return { duty: withPresses(one, pending), pending }
    }),
  )
  const own = computed(() => shown.value.filter(({ duty }) => duty.is_own))
  const standing = computed(() => own.value.find(({ duty }) => duty.state === 'standing') ?? null)
  const planned = computed(() => own.value.filter(({ duty }) => duty.state === 'planned').sort((a, b) => a.duty.starts_at.localeCompare(b.duty.starts_at)))
  const over = computed(() => own.value.filter(({ duty }) => duty.state !== 'planned' && duty.state !== 'standing'))
  const colleagues = computed(() => shown.value.filter(({ duty }) => !duty.is_own && duty.state === 'standing'))

  async function press({ id, number }: OfficerPostDuty, action: string, body: Record<string, unknown> = {}): Promise<void> {
    await lane.pressOnce({ subject: SUBJECT, action, about: String(number), path: `${POSTS}/${id}/${action.replaceAll('_', '-')}`, body })
  }
  function show(duties: OfficerPostDuty[]): void {
    served.value = duties
    keepList(keptAt(), 'posts', duties)
  }
  function take(one: OfficerPostDuty): void {
    const before = served.value.find(({ id }) => id === one.id)
    if (before && before.version > one.version) return
    show(before ? served.value.map((known) => (known.id === one.id ? one : known)) : [one, ...served.value])
  }
  async function refresh(): Promise<void> {
    const every = async () => {
      const found: OfficerPostDuty[] = []
      let cursor: string | null = null
      do {
        const page: Page<OfficerPostDuty> = await api.get(POSTS, { cursor, limit: 50 })
        found.push(...page.items)
        cursor = page.next
      } while (cursor && found.length < 500)
      return found
    }
    await lane.ask(every, (duties) => show(newest(duties, served.value)))
  }
  changes.onChange((change) => {
    if (change === null || change.kind === 'post_duty') void refresh()
  })
  watch(
    () => duty.shift.value?.id ?? null,
    (shiftId, before) => shiftId !== before && void refresh(),
  )
  duty.tellFirst(lane.flush)

  const { known, failure, readAt, waiting, refused, sending, stored, begin, leave, dismiss, hurry } = lane
  return { shown, standing, planned, over, colleagues, known, failure, readAt, waiting, refused, sending, stored, begin, leave, press, dismiss, refresh, hurry }
}
export type Posts = ReturnType<typeof createPosts>
