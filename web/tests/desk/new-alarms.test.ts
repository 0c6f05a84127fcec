/** What a person who listens to the screen hears of new alarms. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createApp, nextTick, ref, shallowReactive, shallowRef, type App } from 'vue'
import NewAlarms from '@/desk/dispatch/NewAlarms.vue'
import en from '@/desk/locales/en'
import zhCN from '@/desk/locales/zh-CN'
import type { DeskAlarm } from '@/desk/types'
import { createTranslations, setLocale } from '@/shared/i18n'

const { desk } = vi.hoisted(() => ({ desk: { dispatch: null as unknown } }))
vi.mock('@/desk/dispatch/current', () => ({ get dispatch() { return desk.dispatch } }))

const open = shallowReactive(new Map<string, DeskAlarm>())
const complete = ref(false)
let app: App
let holder: HTMLElement

const alarm = (id: string, kind: DeskAlarm['kind'] = 'silent', name = '张伟') => open.set(id, { id, kind, officer: { id: 'o', display_name: name } } as DeskAlarm)
async function said(): Promise<string> {
  await nextTick()
  await nextTick()
  return holder.querySelector('[role=status]')!.textContent!
}

beforeEach(() => {
  open.clear()
  complete.value = false
  desk.dispatch = shallowRef({ complete, alarms: { open } })
  setLocale('en')
  holder = document.createElement('div')
  app = createApp(NewAlarms).use(createTranslations({ 'zh-CN': zhCN, en }))
  app.mount(holder)
})
afterEach(() => app.unmount())

it('is each new one by its name, and not those that were open before', async () => {
  alarm('1')
  complete.value = true
  expect(await said()).toBe('')
  alarm('2', 'silent', '李静')
  expect(await said()).toBe('New alarm: Officer silent, 李静.')
  open.delete('1')
  expect(await said()).toBe('New alarm: Officer silent, 李静.')
})

it('is no SOS, which its banner says, and of many at once how many', async () => {
  complete.value = true
  expect(await said()).toBe('')
  alarm('1', 'sos')
  expect(await said()).toBe('')
  for (const id of ['2', '3', '4', '5']) alarm(id)
  expect(await said()).toBe('4 new alarms.')
})

it('is said again where the words are the same as before', async () => {
  complete.value = true
  await said()
  alarm('1')
  const first = await said()
  const before = holder.querySelector('[role=status] span')
  open.delete('1')
  await said()
  expect(holder.querySelector('[role=status] span')).toBe(before)
  alarm('2')
  expect(await said()).toBe(first)
  expect(holder.querySelector('[role=status] span')).not.toBe(before)
})
