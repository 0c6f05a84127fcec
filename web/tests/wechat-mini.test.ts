/** The mini program (`deploy/wechat-mini`), as WeChat runs it: its pages, and WeChat stood in for at `wx`. */
import { readFileSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { beforeEach, describe, expect, it, vi } from 'vitest'

const FOLDER = join(process.cwd(), '../deploy/wechat-mini')
const NONCE = '01a22d16-f145-7192-8e86-71f4ddd86b21'
const NOTICE = '01a22d16-f145-7192-8e86-71f4ddd86b22'
const load = createRequire(join(FOLDER, 'app.js'))
load(join(FOLDER, 'config.js')).baseUrl = 'https://town.example/'

interface Opened {
  data: Record<string, unknown>
  [handler: string]: never
}
type Failure = { errCode?: number; errorCode?: number }

let kept: Record<string, string>
let went: string[]
let code: string | null
/** What the person answers by template, or how WeChat refuses to ask him. */
let answers: Record<string, string> | Failure
let asked: string[][]
let app: { globalData: { answer: unknown } }

beforeEach(() => {
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
  const page = made as Opened & { [handler: string]: (...given: unknown[]) => unknown }
  page.setData = ((changed: object) => void (page.data = { ...page.data, ...changed })) as never
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
    for (const wrong of [{ nonce: '1' }, { templates: '' }, { templates: 'A%26B' }, { templates: 'A,B,C,D' }]) {
      expect((await open('subscribe', question(wrong))).data.asking, JSON.stringify(wrong)).toBe(false)
    }
    expect((await open('subscribe', question({ lang: 'en' }))).data).toMatchObject({ asking: true, words: { back: 'Back' } })
  })
  it('leads back to no page but the clients’, and carries nothing there that WeChat has not said', async () => {
    const client = await open('index')
    const { src } = client.data
    for (const from of ['https://evil.example/', '//evil.example/', '/desk/', '/resident/../desk/', '/resident/#/wechat?code=EVIL', '/resident/sos%23/wechat', '%']) {
      app.globalData.answer = { from: from.replace('%23', '#'), nonce: NONCE, accepted: ['ANS'], refused: [], code: '' }
      client.onShow!()
      expect(client.data.src, from).toBe(src)
    }
  })
})
