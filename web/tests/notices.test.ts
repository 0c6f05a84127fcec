import { describe, expect, it, vi } from 'vitest'
import { ref } from 'vue'
import { Problem, type Api } from '@/shared/api'
import { acceptNotice, hearWorker } from '@/shared/notices/arrival'
import { pageOf } from '@/shared/notices/pages'
import { bytesOf, createPush, type PushSurroundings } from '@/shared/notices/push'
import { createNoticeSettings, type Choice } from '@/shared/notices/settings'
import { addressOf, readPush, shownAs } from '@/shared/notices/shown'
import { createNotices } from '@/shared/notices/store'
import { resultWords } from '@/shared/result-words'
import { reasonOf } from '@/desk/notices/reasons'

const ID = '01a22d16-f145-7192-8e86-71f4ddd86b21'
const SOS = { event_id: 'e1', kind: 'sos.raised', subject_kind: 'task', subject_id: ID, title: '紧急求援', body: '东门', language: 'zh-CN', urgent: true }

describe('where a notice leads', () => {
  it('is the page of what it is about, in the client of whoever reads it', () => {
    expect(pageOf('officer', SOS)).toBe(`/tasks/${ID}`)
    expect(pageOf('desk', SOS)).toBe(`/live?task=${ID}`)
    expect(pageOf('desk', { ...SOS, subject_kind: 'alarm' })).toBe(`/live?alarm=${ID}`)
    expect(pageOf('officer', { ...SOS, kind: 'patrol.late', subject_kind: 'patrol' })).toBe(`/rounds/${ID}`)
    expect(pageOf('desk', { ...SOS, kind: 'patrol.late', subject_kind: 'patrol' })).toBe(`/rounds?patrol=${SOS.subject_id}`)
    for (const client of ['officer', 'resident'] as const) {
      expect(pageOf(client, { ...SOS, kind: 'sos.answered', subject_kind: 'alarm' })).toBe('/sos')
    }
  })
  it('is the list for what has no page there, and cannot lead out of the client', () => {
    expect(pageOf('resident', SOS)).toBe('/notices')
    expect(pageOf('officer', { ...SOS, subject_kind: 'report' })).toBe('/notices')
    expect(pageOf('officer', { ...SOS, subject_id: '../../x?y' })).toBe('/tasks/..%2F..%2Fx%3Fy')
  })
})

describe('what is pushed', () => {
  it('stands until it is touched when somebody is in danger, and goes by itself otherwise', () => {
    const urgent = shownAs('officer', readPush(JSON.stringify(SOS)), 1)
    expect(urgent).toMatchObject({ title: '紧急求援', options: { body: '东门', lang: 'zh-CN', requireInteraction: true, renotify: true, tag: `task:${ID}`, data: { event_id: 'e1', page: `/tasks/${ID}` } } })
    const usual = shownAs('officer', readPush(JSON.stringify({ ...SOS, kind: 'task.offered', urgent: false })), 1)
    expect(usual.options.requireInteraction).toBe(false)
    expect(usual.options.vibrate!.length).toBeLessThan(urgent.options.vibrate!.length)
    expect(usual.options.tag).toBe(urgent.options.tag)
  })
  it('is shown as something when it cannot be read', () => {
    for (const text of ['', '{', 'null', '[]', '"x"', '{"title": "x"}', '{"event_id": "x", "title": 7}']) {
      expect(readPush(text), text).toBeNull()
    }
    expect(shownAs('resident', null, 1)).toMatchObject({ options: { icon: '/icons/resident-192.png', data: { event_id: null, page: '/notices' } } })
  })
  it('opens an address within its client that says which notice led there', () => {
    const scope = 'https://town.example/desk/'
    expect(addressOf(scope, { page: `/live?task=${ID}`, event_id: 'e1' })).toBe(`https://town.example/desk/live?task=${ID}&notice=e1`)
    expect(addressOf(scope, { page: '/notices', event_id: null })).toBe('https://town.example/desk/notices')
  })
})

describe('coming from a notice', () => {
  const to = (path: string, query: Record<string, string>) => ({ path, query, hash: '' }) as never
  it('is reading it, and the address forgets it', () => {
    const opened = vi.fn(async () => undefined)
    expect(acceptNotice(to('/live', { task: ID, notice: 'e1' }), { opened })).toEqual({ path: '/live', query: { task: ID }, hash: '', replace: true })
    expect(opened).toHaveBeenCalledWith('e1')
    expect(acceptNotice(to('/', { notice: 'e1' }), { opened })).toEqual({ name: 'notices', query: { open: 'e1' }, replace: true })
    expect(acceptNotice(to('/tasks', {}), { opened })).toBe(true)
    expect(opened).toHaveBeenCalledTimes(1)
  })
  it('opens a page when the worker says so, and none outside of the client', () => {
    const worker = new EventTarget()
    vi.stubGlobal('navigator', { serviceWorker: worker })
    const router = { push: vi.fn() }
    const opened = vi.fn(async () => undefined)
    const heard = vi.fn()
    hearWorker(router as never, { opened, heard }, { renew: async () => undefined })
    const say = (data: unknown) => worker.dispatchEvent(new MessageEvent('message', { data }))
    say({ type: 'open-notice', page: 'https://evil.example/', event_id: 'e1' })
    say({ type: 'something else' })
    say(null)
    expect(router.push).not.toHaveBeenCalled()
    say({ type: 'open-notice', page: '/sos', event_id: 'e1' })
    say({ type: 'notice' })
    expect(router.push).toHaveBeenCalledWith('/sos')
    expect(opened).toHaveBeenCalledWith('e1')
    expect(heard).toHaveBeenCalledTimes(1)
    vi.unstubAllGlobals()
  })
})

const KEY = 'BP' + 'A'.repeat(85)
function phone(changed: Partial<PushSurroundings> = {}, key: string | null = KEY) {
  const addresses: { id: string; channel: string; created_at: string; this_session: boolean }[] = []
  let subscription: unknown = null
  const posted: unknown[] = []
  const manager = {
    getSubscription: async () => subscription,
    subscribe: async (options: { applicationServerKey: Uint8Array }) => {
      expect(options.applicationServerKey).toHaveLength(65)
      subscription = { toJSON: () => ({ endpoint: 'https://push.example/1', keys: { p256dh: 'p', auth: 'a' } }), unsubscribe: async () => ((subscription = null), true) }
      return subscription
    },
  }
  const api = {
    get: async (path: string) => (path.endsWith('/reach') ? { webpush_key: key, channels: [], wechat_templates: [] } : { items: [...addresses], next: null }),
    post: async (path: string, body: unknown) => {
      posted.push([path, body])
      if (path.endsWith('/end')) addresses.length = 0
      else addresses.push({ id: 'a1', channel: 'webpush', created_at: '', this_session: true })
      return addresses[0]
    },
  } as unknown as Api
  const around: PushSurroundings = {
    secure: () => true,
    userAgent: () => 'Chrome',
    standalone: () => false,
    permission: () => 'default',
    ask: async () => 'granted',
    worker: async () => ({ pushManager: manager }) as unknown as ServiceWorkerRegistration,
    ...changed,
  }
  return { push: createPush(api, 'officer', around), posted, manager }
}

const HINDRANCES: [string, Partial<PushSurroundings>, string | null][] = [
  ['unset', {}, null],
  ['wechat', { userAgent: () => 'MicroMessenger/8' }, KEY],
  ['insecure', { secure: () => false }, KEY],
  ['unsupported', { worker: async () => undefined }, KEY],
  ['unsupported', { permission: () => undefined }, KEY],
  ['install', { worker: async () => undefined, userAgent: () => 'iPhone' }, KEY],
  ['denied', { permission: () => 'denied' }, KEY],
]

describe('notifications of this browser', () => {
  it('are turned on by one press and off by another', async () => {
    const { push, posted } = phone()
    await push.look()
    expect(push.state.value).toBe('off')
    await push.turnOn()
    expect(push.state.value).toBe('on')
    expect(posted).toEqual([['/api/v1/officer/addresses', { channel: 'webpush', token: 'https://push.example/1', keys: { p256dh: 'p', auth: 'a' } }]])
    await push.turnOff()
    expect(push.state.value).toBe('off')
    expect(posted.at(-1)).toEqual(['/api/v1/officer/addresses/a1/end', undefined])
  })
  it.each(HINDRANCES)('are not to be had, and why is said: %s', async (state, changed, key) => {
    const { push, posted } = phone(changed, key)
    await push.look()
    expect(push.state.value).toBe(state)
    await push.turnOff()
    expect(posted).toEqual([])
  })
  it('are registered nowhere when the person says no, or the push service does not answer', async () => {
    const refused = phone({ ask: async () => 'denied', permission: () => 'default' })
    await refused.push.look()
    await refused.push.turnOn()
    expect(refused.push.state.value).toBe('off')
    const lost = phone()
    lost.manager.subscribe = async () => {
      throw new DOMException('push service error', 'AbortError')
    }
    await lost.push.look()
    await lost.push.turnOn()
    expect(lost.push.state.value).toBe('unreachable')
    expect([...refused.posted, ...lost.posted]).toEqual([])
  })
  it('are made with the key in the alphabet of addresses', () => {
    expect([...bytesOf('-_8')]).toEqual([251, 255])
  })
})

describe('what one wants to be told by', () => {
  const server: Choice = { channels: {}, quiet_from: null, quiet_until: null, available: ['sms', 'webpush'], fixed: ['sos.raised'], kinds: ['task.offered', 'sos.raised'] }
  function settings(refusal?: Problem) {
    let kept = server
    const api = {
      get: async () => kept,
      put: async (_path: string, body: Partial<Choice>) => {
        if (refusal) throw refusal
        return (kept = { ...kept, ...body })
      },
    } as unknown as Api
    return createNoticeSettings(api, 'officer')
  }
  it('is all until one chooses, and all again when everything is ticked', async () => {
    const mine = settings()
    await mine.read()
    expect(mine.channelsOf('task.offered')).toEqual(['sms', 'webpush'])
    await mine.setChannels('task.offered', ['webpush'])
    expect(mine.choice.value!.channels).toEqual({ 'task.offered': ['webpush'] })
    await mine.setChannels('task.offered', [])
    expect(mine.channelsOf('task.offered')).toEqual([])
    await mine.setChannels('task.offered', ['webpush', 'sms'])
    expect(mine.choice.value!.channels).toEqual({})
    expect([mine.isFixed('sos.raised'), mine.isFixed('task.offered')]).toEqual([true, false])
  })
  it('stays as it was when the server refuses', async () => {
    const mine = settings(new Problem({ status: 422, code: 'invalid' }))
    await mine.read()
    expect(await mine.setQuiet('22:00', '22:00')).toBe(false)
    expect(mine.choice.value).toEqual(server)
    expect(mine.failure.value).toBeInstanceOf(Problem)
  })
})

describe('the figure on the bell', () => {
  it('is asked for when something comes, and goes down when one is opened', async () => {
    vi.useFakeTimers()
    let unread = 2
    const api = { get: async () => ({ unread }), post: async () => ((unread -= 1), { unread }) } as unknown as Api
    const notices = createNotices({ user: ref({ id: 'zhang' }) } as never, api, 'officer')
    await vi.advanceTimersByTimeAsync(0)
    expect(notices.unread.value).toBe(2)
    unread = 3
    notices.heard()
    notices.heard()
    await vi.advanceTimersByTimeAsync(300)
    expect([notices.unread.value, notices.came.value]).toEqual([3, 1])
    await notices.opened('e1')
    expect(notices.unread.value).toBe(2)
    vi.useRealTimers()
  })
})

describe('what came of a task', () => {
  const text = (words: string) => ({ 'zh-CN': words, en: words })
  const kind = {
    checklist: [{ id: 'b', text: text('Door shut') }, { id: 'a', text: text('Light out') }],
    questions: [{ id: 'q', text: text('Settled?'), choices: [] }, { id: 'c', text: text('How'), choices: [{ id: 'calm', text: text('Calmly') }] }],
  }
  const result = { checklist: { a: false, b: true, gone: true }, answers: { c: 'calm', q: true, old: 7 } }
  it('is told in the words of its kind and in its order', () => {
    const { items, answers } = resultWords(kind, result, { yes: 'yes', no: 'no' })
    expect(items.slice(0, 2).map((one) => [one.text, one.ticked])).toEqual([['Door shut', true], ['Light out', false]])
    expect(answers.slice(0, 2).map((one) => [one.question, one.text])).toEqual([['Settled?', 'yes'], ['How', 'Calmly']])
  })
  it('stands under its id where the kind does not ask it any more', () => {
    const { items, answers } = resultWords(kind, result, { yes: 'yes', no: 'no' })
    expect(items.at(-1)).toMatchObject({ text: 'gone', ticked: true })
    expect(answers.at(-1)).toMatchObject({ question: 'old', text: '7' })
    expect(resultWords(null, null, { yes: 'y', no: 'n' })).toEqual({ items: [], answers: [] })
  })
})

describe('why nothing could be brought', () => {
  it('is one of a few sentences, and another for what nobody has foreseen', () => {
    expect(['webpush_gone', 'no_address', 'fcm_refused', 'wecom_robot_busy', 'webpush_unanswered', 'not_set_up', 'no_credit'].map(reasonOf)).toEqual([
      'gone', 'nobody', 'refused', 'busy', 'failed', 'unset', 'unwilling',
    ])
    expect([reasonOf('wecom_81013'), reasonOf(null)]).toEqual(['other', 'other'])
  })
})
