/**
 * The client inside the mini program of the installation: where WeChat may be asked to bring one more message.
 *
 * WeChat puts its question in a page of the mini program alone (`deploy/wechat-mini`), so the client opens that page and
 * is told the answer in the fragment of its own address, as it is told WeChat's one-time code. A fragment can be written
 * by whoever makes a link: it is believed inside the mini program only, an answer moreover only where this phone has
 * asked, and once. Outside the mini program nothing here asks the server or shows anything.
 */
import { computed, ref, shallowRef, watch } from 'vue'
import type { RouteLocationNormalized, RouteLocationRaw } from 'vue-router'
import { Problem, type Api } from './api'
import { locale } from './i18n'
import { newId } from './ids'
import type { Client } from './notices/pages'
import type { Session } from './session'
import type { Schemas } from './types'

type Reach = Schemas['OfficerReach']
export type Template = Schemas['OfficerCredit']

/** What comes with the mini program's fragment. */
interface Said {
  at: number
  code: string | null
  nonce: string | null
  accepted: string[]
  refused: string[]
}
/** What this phone remembers for one person. */
interface Kept {
  /** By the nonce of a question that was put: its templates. */
  asked: Record<string, string[]>
  /** By template when its question was refused. */
  refused: Record<string, number>
  /** Answers that the server does not know yet. */
  unsent: { nonce: string; accepted: string[] }[]
}
/** WeChat's own door out of a page; the rest of its SDK is not needed, and calls its maker. */
export interface Bridge {
  invoke(name: 'invokeMiniProgramAPI', given: { name: 'navigateTo'; arg: { url: string } }, answer: (said: unknown) => void): void
}
interface WechatWindow {
  WeixinJSBridge?: Bridge
  __wxjs_environment?: string
}

const FRAGMENT = '#/wechat'
const A_DAY_MS = 86_400_000
/** WeChat's codes are good for five minutes. */
const CODE_MS = 280_000
/** WeChat asks for so many templates at once. */
export const MOST_TEMPLATES = 3
const MOST_ASKED = 5
/** In the settings one may ask for more as long as fewer are left. */
export const ENOUGH = 3

export interface WechatSurroundings {
  window: WechatWindow
  document: Pick<Document, 'addEventListener'> | undefined
  userAgent: string
  storage: Pick<Storage, 'getItem' | 'setItem'>
  /** The page and its query, without the fragment. */
  page: () => string
  now: () => number
}

const browser = (): WechatSurroundings => ({
  window: globalThis as WechatWindow,
  document: globalThis.document,
  userAgent: globalThis.navigator?.userAgent ?? '',
  storage: { getItem: (key) => localStorage.getItem(key), setItem: (key, value) => localStorage.setItem(key, value) },
  page: () => location.pathname + location.search,
  now: () => Date.now(),
})

export function createWechat(session: Pick<Session, 'user'>, api: Api, client: Client, given: Partial<WechatSurroundings> = {}) {
  const around = { ...browser(), ...given }
  const base = `/api/v1/${client}`
  const inWechat = /MicroMessenger/i.test(around.userAgent)
  const isHere = () => inWechat && (around.window.__wxjs_environment === 'miniprogram' || /miniProgram/i.test(around.userAgent))
  const here = ref(isHere())
  const templates = shallowRef<Template[]>([])
  /** Kinds whose notices this person now waits for, because of what he has just done. */
  const awaited = shallowRef<readonly string[]>([])
  /** Templates that were allowed since the page was opened. */
  const allowed = shallowRef<readonly string[]>([])
  const kept = shallowRef<Kept>({ asked: {}, refused: {}, unsent: [] })
  const arrivals: Said[] = []
  let owner: string | null = null
  let sending = false

  // --- What this phone remembers

  const keptAt = () => `xungeng.${client}.wechat.${owner}`
  function recall(): Kept {
    try {
      const found = JSON.parse(around.storage.getItem(keptAt()) ?? 'null') as ({ v: number } & Kept) | null
      if (found?.v === 1) return { asked: found.asked, refused: found.refused, unsent: found.unsent }
    } catch {
      // What cannot be read was never said.
    }
    return { asked: {}, refused: {}, unsent: [] }
  }
  function keep(changed: Partial<Kept>): void {
    kept.value = { ...kept.value, ...changed }
    try {
      around.storage.setItem(keptAt(), JSON.stringify({ v: 1, ...kept.value }))
    } catch {
      // Without storage it is forgotten with the page.
    }
  }

  // --- What the mini program says

  /** An address that the mini program has written into: it is heard, and the address forgets it. */
  function accept(to: RouteLocationNormalized): RouteLocationRaw | true {
    if (!to.hash.startsWith(FRAGMENT)) return true
    const said = new URLSearchParams(to.hash.split('?')[1] ?? '')
    const list = (name: string) => (said.get(name) ?? '').split(',').filter(Boolean)
    // Elsewhere than in WeChat anybody may have written it.
    if (inWechat) arrivals.push({ at: around.now(), code: said.get('code'), nonce: said.get('nonce'), accepted: list('accepted'), refused: list('refused') })
    void hear()
    return { path: to.path, query: to.query, hash: '', replace: true }
  }

  async function hear(): Promise<void> {
    if (!here.value || !owner) return
    for (const said of arrivals.splice(0)) {
      if (said.nonce) answer(said.nonce, said)
      if (said.code) await register(said)
    }
    await send()
  }

  function answer(nonce: string, { accepted, refused }: Said): void {
    // Not asked by this phone, or heard before.
    if (!Object.hasOwn(kept.value.asked, nonce)) return
    const { [nonce]: templates = [], ...asked } = kept.value.asked
    const yes = accepted.filter((one) => templates.includes(one))
    const no = refused.filter((one) => templates.includes(one))
    keep({
      asked,
      refused: { ...recent(), ...Object.fromEntries(no.map((one) => [one, around.now()])) },
      unsent: yes.length ? [...kept.value.unsent, { nonce, accepted: yes }] : kept.value.unsent,
    })
    allowed.value = [...allowed.value, ...yes]
  }

  /** This session is reached by WeChat from now on, unless it is already. */
  async function register(said: Said): Promise<void> {
    if (around.now() - said.at > CODE_MS) return
    try {
      const mine = owner
      const reach = await api.get<Reach>(`${base}/reach`)
      take(reach, mine)
      if (!reach.channels.includes('wechat_mini')) return
      const { items } = await api.get<{ items: Schemas['OfficerAddress'][] }>(`${base}/addresses`)
      if (items.some(({ channel, this_session }) => channel === 'wechat_mini' && this_session)) return
      await api.post(`${base}/addresses`, { channel: 'wechat_mini', token: said.code })
    } catch (error) {
      // A code that WeChat does not know is no use. Without a network it is tried again while it is good.
      if (!(error instanceof Problem)) arrivals.push({ ...said, nonce: null })
    }
  }

  /** Tells the server what was allowed, each answer under the key of its question, so that it counts once. */
  async function send(): Promise<void> {
    if (sending) return
    sending = true
    const mine = owner
    try {
      while (kept.value.unsent[0] && owner === mine) {
        const { nonce, accepted } = kept.value.unsent[0]
        try {
          take(await api.post<Reach>(`${base}/wechat-credits`, { template_ids: accepted }, { idempotencyKey: nonce }), mine)
        } catch (error) {
          if (!(error instanceof Problem) || error.status === 401 || error.status === 429 || error.status >= 500) return
        }
        if (owner === mine) keep({ unsent: kept.value.unsent.filter((one) => one.nonce !== nonce) })
      }
    } finally {
      sending = false
    }
  }

  // --- What is worth asking for

  function take(reach: Reach, whose: string | null): void {
    if (owner === whose) templates.value = reach.wechat_templates
  }
  /** Asks the server how many messages are left. Whoever cannot be answered is not asked anything. */
  async function look(): Promise<void> {
    if (!here.value || !owner) return
    const mine = owner
    try {
      take(await api.get<Reach>(`${base}/reach`), mine)
    } catch {
      // Nothing waits for this.
    }
  }
  const isRecent = (at: number) => around.now() - at < A_DAY_MS
  const recent = () => Object.fromEntries(Object.entries(kept.value.refused).filter(([, at]) => isRecent(at)))

  /** The templates of these kinds of which fewer than `below` messages are left, the fewest first; three at most. */
  function wanting(kinds: readonly string[] | null, below: number): string[] {
    const found = templates.value
      .filter(({ kind, remaining }) => remaining < below && (kinds === null || kinds.includes(kind)))
      .sort((a, b) => a.remaining - b.remaining)
    return [...new Set(found.map(({ template_id: id }) => id))].slice(0, MOST_TEMPLATES)
  }
  /** Whom was said no to is left alone for a day. */
  const isQuiet = (id: string) => Object.hasOwn(recent(), id)
  const askable = (kinds: readonly string[] | null, below: number) => wanting(kinds, below).filter((id) => !isQuiet(id))

  // --- Asking

  /** Opens the mini program's page that asks. It has to be called by a press, and nothing waits for its answer. */
  function ask(ids: readonly string[]): void {
    const bridge = around.window.WeixinJSBridge
    if (!bridge || !owner || !ids.length) return
    const nonce = newId()
    const older = Object.entries(kept.value.asked).slice(1 - MOST_ASKED)
    keep({ asked: { ...Object.fromEntries(older), [nonce]: [...ids] } })
    const query = new URLSearchParams({ templates: ids.join(','), nonce, from: around.page(), lang: locale.value })
    bridge.invoke('invokeMiniProgramAPI', { name: 'navigateTo', arg: { url: `/pages/subscribe/index?${query}` } }, () => undefined)
  }
  function decline(ids: readonly string[]): void {
    keep({ refused: { ...recent(), ...Object.fromEntries(ids.map((one) => [one, around.now()])) } })
  }

  // --- Who it is for

  watch(
    [here, () => session.user.value?.id ?? null],
    ([, id]) => {
      if (id !== owner) {
        owner = id
        templates.value = []
        awaited.value = []
        allowed.value = []
        kept.value = id ? recall() : { asked: {}, refused: {}, unsent: [] }
      }
      void hear()
    },
    { immediate: true, flush: 'sync' },
  )
  // Some phones say only with the bridge that this is a mini program.
  if (inWechat && !here.value) around.document?.addEventListener('WeixinJSBridgeReady', () => (here.value = isHere()), { once: true })
  if (inWechat) globalThis.addEventListener?.('online', () => void hear())

  return {
    here,
    templates,
    awaited,
    allowed,
    accept,
    look,
    askable,
    /** All that are few, whether one was asked about them today or not. */
    few: computed(() => wanting(null, ENOUGH)),
    ask,
    decline,
    /** He has done something whose answer comes later, by a notice of one of these kinds. */
    expect(...kinds: string[]): void {
      awaited.value = kinds
    },
  }
}
export type Wechat = ReturnType<typeof createWechat>
