/** What the desk's card and the phone's page do with an authenticator, beside what the server refuses. */
import { describe, expect, it } from 'vitest'
import { ref } from 'vue'
import { Problem } from '@/shared/api'
import { useAuthenticator } from '@/shared/authenticator'
import type { Me } from '@/shared/types'

/** An account on a server that takes the code 123456 and the password `right`. */
function account() {
  const stored = { totp_enabled: false }
  const user = ref({ ...stored } as Me)
  const calls: { path: string; body: unknown }[] = []
  const told: boolean[] = []
  const refuse = (code: string): never => {
    throw new Problem({ type: '', title: code, status: 422, code, detail: code })
  }
  const post = async (path: string, body?: unknown): Promise<unknown> => {
    calls.push({ path, body })
    await Promise.resolve()
    if (path.endsWith('/confirm')) {
      if ((body as { code: string }).code !== '123456') refuse('wrong_code')
      stored.totp_enabled = true
      return undefined
    }
    if (path.endsWith('/disable')) {
      if ((body as { password: string }).password !== 'right') refuse('wrong_password')
      stored.totp_enabled = false
      return undefined
    }
    if ((body as { password: string }).password !== 'right') refuse('wrong_password')
    return { secret: 'ABC', uri: 'otpauth://totp/x', qr_svg: '<svg id="ä"/>' }
  }
  const reload = async () => (user.value = { ...user.value, ...stored })
  const card = useAuthenticator({
    api: { post: post as never },
    session: { user, reload },
    translate: ((key: string) => key) as never,
    told: (on) => told.push(on),
  })
  return { card, calls, told }
}

describe('the authenticator', () => {
  it('is on once the right password and a right code were shown, and asks again after a wrong one', async () => {
    const { card, calls, told } = account()
    card.asking.value = true
    card.password.value = 'guess'
    await card.begin()
    expect([card.secret.value, card.asking.value, card.problem.value !== '']).toEqual([null, true, true])
    card.password.value = 'right'
    await card.begin()
    expect([card.asking.value, card.password.value]).toEqual([false, ''])
    expect(card.secret.value?.secret).toBe('ABC')
    expect(decodeURIComponent(card.qr.value)).toContain('<svg id="ä"/>')
    card.code.value = '000000'
    await card.confirm()
    expect([card.on.value, card.problem.value !== '', card.secret.value === null]).toEqual([false, true, false])
    card.code.value = ' 123456 '
    await card.confirm()
    expect([card.on.value, card.problem.value, card.secret.value, card.code.value]).toEqual([true, '', null, ''])
    expect(calls.at(-1)?.body).toEqual({ code: '123456' })
    expect(told).toEqual([true])
  })

  it('is off with the right password, which is not kept, and stays on with a wrong one', async () => {
    const { card, told } = account()
    card.password.value = 'right'
    await card.begin()
    card.code.value = '123456'
    await card.confirm()
    card.asking.value = true
    card.password.value = 'guess'
    await card.disable()
    expect([card.on.value, card.asking.value, card.problem.value !== '']).toEqual([true, true, true])
    card.password.value = 'right'
    await card.disable()
    expect([card.on.value, card.asking.value, card.password.value, card.problem.value]).toEqual([false, false, '', ''])
    expect(told).toEqual([true, false])
  })

  it('is as it was, and forgets what was typed, when one thinks better of it', async () => {
    const { card, told } = account()
    card.asking.value = true
    card.password.value = 'guess'
    await card.begin()
    card.leave()
    expect([card.on.value, card.asking.value, card.password.value, card.problem.value]).toEqual([false, false, '', ''])
    card.password.value = 'right'
    await card.begin()
    card.code.value = '12'
    card.leave()
    expect([card.on.value, card.secret.value, card.code.value, told]).toEqual([false, null, '', []])
  })

  it('sends one request for two presses', async () => {
    const { card, calls } = account()
    await Promise.all([card.begin(), card.begin()])
    expect(calls).toHaveLength(1)
  })

  it('reads six digits and nothing else as a code', () => {
    const { card } = account()
    for (const [typed, readable] of [['123456', true], [' 123456', true], ['12345', false], ['1234567', false], ['12345a', false]] as const) {
      card.code.value = typed
      expect(card.readable.value, typed).toBe(readable)
    }
  })
})
