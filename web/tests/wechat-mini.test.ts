/** The mini program (`deploy/wechat-mini`), as WeChat runs it: its pages, and WeChat stood in for at `wx`. */
import { readFileSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { ref } from 'vue'
import type { Api } from '@/shared/api'
import { createWechat } from '@/shared/wechat'

const FOLDER = join(process.cwd(), '../deploy/wechat-mini')
const NONCE = '01a22d16-f145-7192-8e86-71f4ddd86b21'
const NOTICE = '01a22d16-f145-7192-8e86-71f4ddd86b22'
const load = createRequire(join(FOLDER, 'app.js'))
load(join(FOLDER, 'config.js')).baseUrl = 'https://town.example/'

type Opened = { data: Record<string, unknown> } & Record<string, (...given: unknown[]) => unknown>
type Failure = { errCode?: number; errorCode?: number }

let kept: Record<string, string>
let went: string[]
let code: string | null
/** What the person answers by template, or how WeChat refuses to ask him. */
let answers: Record<string, string> | Failure
let asked: string[][]
let app: { globalData: { answer: unknown } }

beforeEach(() => {
  localStorage.clear()
  kept = {}
  went = []
  code = 'CODE1'
  answers = {}
  asked = []
  vi.stubGlobal('wx', {
    getStorageSync: (key: string) => kept[key] ?? '',
    setStorageSync: (key: string, value: string) => void (kept[key] = value),
    setNavigationBarTitle: () => undefined,
    login: (on: { success: (said: { code: string }) => void; fail: () => void }) => (code ? on.success({ code }) : on.fail()),
    reLaunch: ({ url }: { url: string }) => void went.push(url),
    navigateBack: () => void went.push('back'),
    openSetting: () => void went.push('settings'),
    requestSubscribeMessage: (on: { tmplIds: string[]; success: (said: object) => void; fail: (said: object) => void }) => {
      asked.push(on.tmplIds)
      if ('errCode' in answers || 'errorCode' in answers) on.fail(answers)
      else on.success({ errMsg: 'requestSubscribeMessage:ok', ...answers })
    },
  })
  vi.stubGlobal('App', (made: typeof app) => (app = made))
  vi.stubGlobal('getApp', () => app)
  run('app.js')
})

function run(file: string): void {
  delete load.cache[join(FOLDER, file)]
  load(join(FOLDER, file))
}
/** A page as WeChat opens it: loaded with its parameters as they stand in the address, and shown. */
async function open(name: string, options: Record<string, string> = {}) {
  let made: Opened | undefined
  vi.stubGlobal('Page', (given: Opened) => (made = given))
  run(`pages/${name}/index.js`)
  const page = made!
  page.setData = (changed) => void (page.data = { ...page.data, ...(changed as object) })
  const loaded = page.onLoad!(options)
  page.onShow?.()
  await loaded
  return page
}
const question = (more: Record<string, string> = {}) => ({ templates: 'ANS%2CACK', nonce: NONCE, from: '%2Fresident%2Fsos%3Fa%3Db', lang: 'zh-CN', ...more })

describe('the folder', () => {
  it('has the four files of every page that app.json names, and words in both languages', () => {
    const { pages } = JSON.parse(readFileSync(join(FOLDER, 'app.json'), 'utf8')) as { pages: string[] }
    expect(pages).toEqual(['index', 'subscribe', 'notice'].map((name) => `pages/${name}/index`))
    for (const page of pages) {
      const files = readdirSync(join(FOLDER, page, '..'))
      for (const ending of ['js', 'json', 'wxml']) expect(files, page).toContain(`index.${ending}`)
    }
    const wordsFor = load('./lib/words.js') as (language: string) => Record<string, string>
    expect(Object.keys(wordsFor('en-US'))).toEqual(Object.keys(wordsFor('zh-CN')))
    expect(wordsFor('')).toBe(wordsFor('zh-CN'))
  })
})

describe('the client', () => {
  it("is opened with WeChat's code behind the #, and without one where WeChat gives none", async () => {
    expect((await open('index')).data.src).toBe('https://town.example/resident/#/wechat?code=CODE1')
    code = null
    expect((await open('index')).data.src).toBe('https://town.example/resident/')
  })
  it('is the one that a link has named, also next time, and none that is not there', async () => {
    code = null
    expect((await open('index', { client: 'officer' })).data.src).toBe('https://town.example/officer/')
    expect((await open('index')).data.src).toBe('https://town.example/officer/')
    expect((await open('index', { client: '..%2Fdesk' })).data.src).toBe('https://town.example/officer/')
  })
  it('takes nothing from a link into what it believes', async () => {
    const page = await open('index', { code: 'EVIL', src: 'https://evil.example', notice: 'x#/wechat?code=EVIL' })
    expect(page.data.src).toBe('https://town.example/resident/#/wechat?code=CODE1')
  })
  it('is opened by a message at its notice', async () => {
    await open('notice', { id: NOTICE })
    await open('notice', { id: 'x&client=officer' })
    expect(went).toEqual([`/pages/index/index?notice=${NOTICE}`, '/pages/index/index'])
    expect((await open('index', { notice: NOTICE })).data.src).toBe(`https://town.example/resident/?notice=${NOTICE}#/wechat?code=CODE1`)
  })
})

describe('the two sides', () => {
  it('understand each other: the client asks, the mini program hands back, and the server is told once', async () => {
    const told: [string, unknown, unknown][] = []
    const api = {
      get: async () => ({ channels: ['wechat_mini'], wechat_templates: [], items: [] }),
      post: async (path: string, body: unknown, options?: { idempotencyKey?: string }) => {
        told.push([path, body, options?.idempotencyKey])
        return { channels: ['wechat_mini'], wechat_templates: [] }
      },
    } as unknown as Api
    const wechat = createWechat({ user: ref({ id: 'me' }) } as never, api, 'officer', {
      userAgent: 'MicroMessenger/8.0.50 miniProgram/wx01',
      window: { WeixinJSBridge: { invoke: (_name, { arg }) => void went.push(arg.url) } },
      page: () => '/officer/reports?all=%E6%98%AF&to=/x',
    })
    const hear = (src: unknown) => {
      const { pathname, search, hash } = new URL(String(src))
      wechat.accept({ path: pathname, query: {}, hash } as never)
      return pathname + search
    }
    const client = await open('index', { client: 'officer' })
    hear(client.data.src)
    await vi.waitFor(() => expect(told).toEqual([['/api/v1/officer/addresses', { channel: 'wechat_mini', token: 'CODE1' }, undefined]]))

    wechat.ask(['T1', 'T2'])
    // WeChat hands the parameters over as they stand in the address.
    const [page, query] = went[0]!.split('?') as [string, string]
    expect(page).toBe('/pages/subscribe/index')
    answers = { T1: 'accept', T2: 'reject' }
    code = null
    const given = Object.fromEntries(query.split('&').map((part) => part.split('=') as [string, string]))
    ;(await open('subscribe', given)).allow!()
    await vi.waitFor(() => expect(went).toHaveLength(2))
    client.onShow!()
    for (const again of [1, 2]) expect(decodeURIComponent(hear(client.data.src)), String(again)).toBe('/officer/reports?all=是&to=/x')
    await vi.waitFor(() => expect(told.slice(1)).toEqual([['/api/v1/officer/wechat-credits', { template_ids: ['T1'] }, expect.stringMatching(/^[0-9a-f-]{36}$/)]]))
  })
})

describe('the question', () => {
  it('is put at the press, and the page that asked is told who said yes to what', async () => {
    const client = await open('index')
    const page = await open('subscribe', question())
    answers = { ANS: 'accept', ACK: 'reject' }
    code = 'CODE2'
    page.allow!()
    expect(asked).toEqual([['ANS', 'ACK']])
    await vi.waitFor(() => expect(went).toEqual(['back']))
    client.onShow!()
    expect(client.data.src).toBe(`https://town.example/resident/sos?a=b#/wechat?nonce=${NONCE}&accepted=ANS&refused=ACK&code=CODE2`)
    const { src } = client.data
    client.onShow!()
    expect(client.data.src).toBe(src)
  })
  it('counts as refused what is banned, as neither what was not put, and all when it is put off', async () => {
    const client = await open('index')
    code = null
    answers = { ANS: 'ban', ACK: 'filter' }
    ;(await open('subscribe', question())).allow!()
    await vi.waitFor(() => expect(went).toHaveLength(1))
    client.onShow!()
    expect(client.data.src).toBe(`https://town.example/resident/sos?a=b#/wechat?nonce=${NONCE}&refused=ANS`)
    await (await open('subscribe', question())).refuse!()
    client.onShow!()
    expect(client.data.src).toBe(`https://town.example/resident/sos?a=b#/wechat?nonce=${NONCE}&refused=ANS%2CACK`)
  })
  it('says why WeChat did not put it, and lets one try again; nothing is told of it', async () => {
    const page = await open('subscribe', question())
    for (const [failure, off, words] of [
      [{ errCode: 20004 }, true, /打开设置/],
      [{ errorCode: 10002 }, false, /检查网络/],
      [{ errCode: 10001 }, false, /10001/],
    ] as const) {
      answers = failure
      page.allow!()
      expect([page.data.off, page.data.busy]).toEqual([off, false])
      expect(page.data.trouble).toMatch(words)
    }
    expect([asked.length, went, app.globalData.answer]).toEqual([3, [], null])
    answers = { ANS: 'accept' }
    page.allow!()
    page.allow!()
    await vi.waitFor(() => expect(went).toEqual(['back']))
    expect(asked).toHaveLength(4)
  })
  it('is none without a nonce, with other templates than WeChat has, or with too many', async () => {
    const wrongs: Record<string, string>[] = [{ nonce: '1' }, { templates: '' }, { templates: 'A%26B' }, { templates: 'A,B,C,D' }]
    for (const wrong of wrongs) {
      expect((await open('subscribe', question(wrong))).data.asking, JSON.stringify(wrong)).toBe(false)
    }
    expect((await open('subscribe', question({ lang: 'en' }))).data).toMatchObject({ asking: true, words: { back: 'Back' } })
  })
  it('leads back to no page but the clients’, and carries nothing there that WeChat has not said', async () => {
    const client = await open('index')
    const { src } = client.data
    for (const from of ['https://evil.example/', '//evil.example/', '/desk/', '/resident/../desk/', '/resident/#/wechat?code=EVIL', '/resident/\\evil.example', '/resident/ x', '%']) {
      app.globalData.answer = { from, nonce: NONCE, accepted: ['ANS'], refused: [], code: '' }
      client.onShow!()
      expect(client.data.src, from).toBe(src)
    }
  })
})
