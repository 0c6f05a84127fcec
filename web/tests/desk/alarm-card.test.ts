import { afterEach, describe, expect, it, vi } from 'vitest'
import { createApp, h, type App } from 'vue'
import AlarmCard from '@/desk/dispatch/AlarmCard.vue'
import en from '@/desk/locales/en'
import zhCN from '@/desk/locales/zh-CN'
import type { DeskAlarm } from '@/desk/types'
import { createTranslations, locale, setLocale } from '@/shared/i18n'

const NOW = Date.parse('2026-11-30T10:00:00Z')
const alarm = (more: Partial<DeskAlarm>): DeskAlarm =>
  ({
    id: 'x', number: 7, state: 'raised', priority: 'normal', level: 0, officer: null, resident: null, place: null, note: null,
    device: null, heard_at: null, battery_pct: null, way: null, outage: null, task_id: null, acknowledged_by: null,
    acknowledged_at: null, raised_at: '2026-11-30T09:59:00Z', actions: [],
    area: { id: 'a', name: { 'zh-CN': '青禾镇', en: 'Qinghe' } }, ...more,
  }) as DeskAlarm

const before = locale.value
let app: App | null = null
afterEach(() => {
  app?.unmount()
  app = null
  setLocale(before)
})

function shown(language: 'zh-CN' | 'en', one: DeskAlarm, onTask = vi.fn()): HTMLElement {
  setLocale(language)
  const place = document.createElement('div')
  app = createApp({ render: () => h(AlarmCard, { alarm: one, nowMs: NOW, onTask }) })
  app.use(createTranslations({ 'zh-CN': zhCN, en }))
  app.mount(place)
  return place
}

describe('the card of an alarm that raised itself', () => {
  const way = { task_id: 't', task_number: 17, began_m: 900, now_m: 1_640 }
  const deviation = alarm({ kind: 'deviation', source: 'officer', officer: { id: 'o', display_name: '王伟' }, way })
  it.each([
    ['zh-CN', '偏离路线 · 王伟', '任务 17 号', '告警时距离 1.64 公里，出发时 900 米'],
    ['en', 'Off the route · 王伟', 'Task no. 17', '1.64 km from it when the alarm was raised, 900 m when the way began'],
  ] as const)('names the officer and the task that he leaves, in %s', (language, title, task, far) => {
    const onTask = vi.fn()
    const card = shown(language, deviation, onTask)
    expect(card.querySelector('h2')!.textContent).toBe(title)
    const left = card.querySelector('[data-testid=alarm-way]')!
    expect(left.textContent).toContain(far)
    const open = left.querySelector('button')!
    expect(open.textContent).toBe(task)
    open.click()
    expect(onTask).toHaveBeenCalledWith('t')
    expect(card.querySelector('[data-testid=alarm-outage]')).toBeNull()
  })

  const outage = alarm({
    kind: 'outage', source: 'area', source_id: 'a',
    outage: {
      silent: 12, on_shift: 14, since: '2026-11-30T09:45:00Z',
      officers: [{ id: 'o', display_name: '王伟', heard_at: '2026-11-30T09:45:00Z' }],
    },
  })
  it.each([
    ['zh-CN', '大面积失联 · 青禾镇', '在岗 14 人中 12 人', '是谁：1 人'],
    ['en', 'Many officers silent · Qinghe', '12 of 14 on shift', 'Who: 1 officer'],
  ] as const)('says how many fell silent under which desk, and for whom it stands, in %s', (language, title, figures, who) => {
    const card = shown(language, outage)
    expect(card.querySelector('[data-testid=outage-officers] summary')!.textContent).toBe(who)
    expect(card.querySelector('[data-testid=outage-officers] button')!.textContent).toBe('王伟')
    expect(card.querySelector('h2')!.textContent).toBe(title)
    expect(card.querySelector('[data-testid=alarm-outage]')!.textContent).toContain(figures)
    expect(card.querySelector('[data-testid=alarm-way]')).toBeNull()
    expect(card.querySelector('[data-testid=phone-settings]')).toBeNull()
  })
})
