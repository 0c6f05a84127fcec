/** Inside the mini program: what is asked for and when, and what the client believes of the answers that come back. */
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { ref } from 'vue'
import { Offline, Problem, type Api } from '@/shared/api'
import { createWechat, type Template, type Wechat } from '@/shared/wechat'

const MINI = 'Mozilla/5.0 (Linux; Android 14) MicroMessenger/8.0.50 miniProgram/wx0123456789abcdef'
const A_DAY_MS = 86_400_000
const row = (kind: string, template_id: string, remaining: number): Template => ({ kind, template_id, remaining })

/** A server of one person: what is left of each template, and every command that it was given, by its key. */
class Server {
  left: Template[] = [row('sos.answered', 'ANS', 0), row('sos.acknowledged', 'ACK', 0)]
  channels = ['wechat_mini']
  addresses: { channel: string; this_session: boolean }[] = []
  told = new Map<string, { path: string; body: Record<string, unknown> }>()
  asked: string[] = []
  down = false
  refusing: Problem | null = null
  reach = () => ({ webpush_key: null, channels: this.channels, wechat_templates: this.left })
  api = {
    get: async (path: string) => {
      this.asked.push(path)
      if (this.down) throw new Offline()
      return path.endsWith('/reach') ? this.reach() : { items: this.addresses, next: null }
    },
    post: async (path: string, body: { template_ids?: string[]; channel?: string }, options?: { idempotencyKey?: string }) => {
      this.asked.push(path)
      if (this.down) throw new Offline()
      if (this.refusing) throw this.refusing
      const key = options?.idempotencyKey ?? path
      if (!this.told.has(key)) {
        this.told.set(key, { path, body })
        this.left = this.left.map((one) => (body.template_ids?.includes(one.template_id) ? { ...one, remaining: one.remaining + 1 } : one))
        if (body.channel) this.addresses.push({ channel: body.channel, this_session: true })
      }
      return this.reach()
    },
  } as unknown as Api
  credits = () => [...this.told.values()].filter(({ path }) => path.endsWith('/wechat-credits')).map(({ body }) => body.template_ids)
}

let server: Server
let now: number
let opened: string[]
const user = ref<{ id: string } | null>({ id: 'resident' })
const session = { user } as never
/** All that was begun has been done: the server above answers at once. */
const drained = () => new Promise((resolve) => setTimeout(resolve))
const settled = (check: () => void) => vi.waitFor(check, { timeout: 2_000, interval: 5 })

function client(given: { userAgent?: string; window?: object } = {}): Wechat {
  const bridge = { invoke: (_name: string, { arg }: { arg: { url: string } }) => void opened.push(arg.url) }
  return createWechat(session, server.api, 'resident', {
    userAgent: MINI,
    window: { WeixinJSBridge: bridge },
    page: () => '/resident/sos',
    now: () => now,
    ...given,
  } as never)
}
const arrive = (wechat: Wechat, said: Record<string, string>) =>
  wechat.accept({ path: '/sos', query: { a: 'b' }, hash: `#/wechat?${new URLSearchParams(said)}` } as never)
/** The question that the mini program was opened with. */
const question = () => Object.fromEntries(new URLSearchParams(opened.at(-1)!.split('?')[1]))

beforeEach(() => {
  localStorage.clear()
  server = new Server()
  opened = []
  now = Date.parse('2026-11-30T06:00:00Z')
  user.value = { id: 'resident' }
})

describe('outside of the mini program', () => {
  it('nothing is asked for, shown or believed, in a browser or in WeChat itself, and the address forgets what was in it', async () => {
    for (const userAgent of ['Mozilla/5.0 (Linux; Android 14) Chrome/130', 'Mozilla/5.0 (Linux; Android 14) MicroMessenger/8.0.50', 'miniProgram/wx0 without WeChat']) {
      const wechat = client({ userAgent })
      expect(arrive(wechat, { code: 'EVIL' })).toEqual({ path: '/sos', query: { a: 'b' }, hash: '', replace: true })
      wechat.expect('sos.answered')
      await wechat.look()
      expect([wechat.here.value, wechat.askable(null, 9)]).toEqual([false, []])
    }
    expect(server.asked).toEqual([])
  })
  it('addresses with other fragments are left alone', () => {
    expect(client().accept({ path: '/', query: {}, hash: '#/scan/x' } as never)).toBe(true)
  })
  it('a phone that says only with the bridge that it is one is believed then', async () => {
    const window = {} as { __wxjs_environment?: string }
    const wechat = client({ userAgent: 'MicroMessenger/7.0', window })
    arrive(wechat, { code: 'CODE' })
    expect(server.asked).toEqual([])
    window.__wxjs_environment = 'miniprogram'
    document.dispatchEvent(new Event('WeixinJSBridgeReady'))
    await settled(() => expect(server.addresses).toHaveLength(1))
  })
})

describe('WeChat is asked', () => {
  it('for what is awaited and cannot be brought, the fewest first and three at most; a shared template once', async () => {
    server.left = [row('a', 'T5', 5), row('b', 'T2', 2), row('c', 'T0', 0), row('d', 'T0', 0), row('e', 'T1', 1), row('f', 'T2b', 2)]
    const wechat = client()
    await wechat.look()
    expect(wechat.askable(['c', 'd', 'e'], 1)).toEqual(['T0'])
    expect(wechat.askable(null, 3)).toEqual(['T0', 'T1', 'T2'])
    expect(wechat.askable(['a'], 3)).toEqual([])
  })
  it('by the page of the mini program, which learns where to come back to', async () => {
    const wechat = client()
    wechat.ask(['ANS', 'ACK'])
    expect(opened[0]).toMatch(/^\/pages\/subscribe\/index\?/)
    expect(question()).toMatchObject({ templates: 'ANS,ACK', from: '/resident/sos', lang: expect.stringMatching(/^(zh-CN|en)$/) })
    wechat.ask([])
    expect(opened).toHaveLength(1)
  })
  it('not again within a day of a no, on the card or in WeChat, by this person', async () => {
    const wechat = client()
    await wechat.look()
    wechat.decline(['ANS'])
    expect(wechat.askable(null, 1)).toEqual(['ACK'])
    wechat.ask(['ACK'])
    arrive(wechat, { nonce: question().nonce!, refused: 'ACK' })
    await settled(() => expect(wechat.askable(null, 1)).toEqual([]))
    const later = client()
    await later.look()
    expect(later.askable(null, 1)).toEqual([])
    user.value = { id: 'somebody-else' }
    await later.look()
    expect(later.askable(null, 1)).toEqual(['ANS', 'ACK'])
    user.value = { id: 'resident' }
    now += A_DAY_MS
    await later.look()
    expect(later.askable(null, 1)).toEqual(['ANS', 'ACK'])
    expect(server.credits()).toEqual([])
  })
  it('nothing where the server cannot be reached', async () => {
    server.down = true
    const wechat = client()
    await wechat.look()
    expect(wechat.askable(null, 1)).toEqual([])
  })
})

describe('an answer', () => {
  it('is counted once however often it comes, and only for what was asked', async () => {
    const wechat = client()
    wechat.ask(['ANS', 'ACK'])
    const said = { nonce: question().nonce!, accepted: 'ANS,OTHERS', refused: 'ACK' }
    arrive(wechat, said)
    arrive(wechat, said)
    await settled(() => expect(wechat.templates.value.find(({ template_id: id }) => id === 'ANS')?.remaining).toBe(1))
    // The page was loaded anew, with the same address.
    arrive(client(), said)
    await drained()
    expect(server.credits()).toEqual([['ANS']])
    expect([...server.told.keys()]).toEqual([said.nonce])
    expect(wechat.allowed.value).toEqual(['ANS'])
  })
  it('to a question that this phone has not put counts nothing', async () => {
    const wechat = client()
    wechat.ask(['ANS'])
    for (const nonce of ['01a22d16-f145-7192-8e86-71f4ddd86b21', 'constructor', '__proto__', '']) arrive(wechat, { nonce, accepted: 'ANS' })
    await drained()
    expect(server.credits()).toEqual([])
  })
  it('waits for the network and for the server, over a restart too, and not for what the server refuses for good', async () => {
    const wechat = client()
    wechat.ask(['ANS'])
    server.down = true
    arrive(wechat, { nonce: question().nonce!, accepted: 'ANS' })
    await settled(() => expect(server.asked).toHaveLength(1))
    server.down = false
    server.refusing = new Problem({ status: 503, code: 'unavailable' })
    client()
    await settled(() => expect(server.asked).toHaveLength(2))
    server.refusing = null
    const reopened = client()
    await settled(() => expect(server.credits()).toEqual([['ANS']]))
    server.refusing = new Problem({ status: 422, code: 'invalid' })
    reopened.ask(['ACK'])
    arrive(reopened, { nonce: question().nonce!, accepted: 'ACK' })
    await settled(() => expect(server.asked.filter((path) => path.endsWith('/wechat-credits'))).toHaveLength(4))
    server.refusing = null
    client()
    await drained()
    expect(server.credits()).toEqual([['ANS']])
  })
})

describe("WeChat's one-time code", () => {
  it('lets this session be reached, once; whoever signs in later is reached by it while it is good', async () => {
    user.value = null
    const wechat = client()
    arrive(wechat, { code: 'FIRST' })
    expect(server.asked).toEqual([])
    user.value = { id: 'resident' }
    await settled(() => expect(server.told.get('/api/v1/resident/addresses')?.body).toEqual({ channel: 'wechat_mini', token: 'FIRST' }))
    arrive(wechat, { code: 'SECOND' })
    await settled(() => expect(server.asked.filter((path) => path.endsWith('/addresses'))).toHaveLength(3))
    expect(server.told.size).toBe(1)
  })
  it('is dropped when it is old, where the installation has no mini program, and when WeChat does not know it', async () => {
    user.value = null
    const wechat = client()
    arrive(wechat, { code: 'OLD' })
    now += 300_000
    user.value = { id: 'resident' }
    expect(server.asked).toEqual([])
    server.channels = []
    arrive(wechat, { code: 'NOWHERE' })
    await settled(() => expect(server.asked).toEqual(['/api/v1/resident/reach']))
    server.channels = ['wechat_mini']
    server.refusing = new Problem({ status: 422, code: 'wechat_code' })
    arrive(wechat, { code: 'USED' })
    await settled(() => expect(server.asked).toHaveLength(4))
    server.refusing = null
    globalThis.dispatchEvent(new Event('online'))
    await drained()
    expect(server.addresses).toEqual([])
  })
  it('is tried again with the network', async () => {
    server.down = true
    const wechat = client()
    arrive(wechat, { code: 'CODE' })
    await settled(() => expect(server.asked).toHaveLength(1))
    await drained()
    server.down = false
    globalThis.dispatchEvent(new Event('online'))
    await settled(() => expect(server.addresses).toHaveLength(1))
    expect(wechat.here.value).toBe(true)
  })
})
