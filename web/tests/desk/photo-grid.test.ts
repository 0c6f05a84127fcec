/** The photos of a report at the desk: each says how far it has come, and why it is not to be seen. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createApp, h, type App } from 'vue'
import PhotoGrid from '@/desk/evidence/PhotoGrid.vue'
import en from '@/desk/locales/en'
import zhCN from '@/desk/locales/zh-CN'
import type { DeskPhoto } from '@/desk/types'
import { Offline, Problem } from '@/shared/api'
import { createTranslations, locale, setLocale } from '@/shared/i18n'

const api = vi.hoisted(() => ({ get: vi.fn(), response: vi.fn() }))
vi.mock('@/desk/client', () => ({ api, session: {}, may: () => false }))

const photo = (id: string, of: 'before' | 'after', more: Record<string, unknown> = {}): DeskPhoto =>
  ({ id, of, evidence: { id, kind: 'image', state: 'sealed', reason: null, has_preview: true, captured_at: '2026-11-30T06:00:00Z', sealed_at: null, width_px: null, sha256: 'ab', ...more } }) as unknown as DeskPhoto

const before = locale.value
let app: App | null = null
let place: HTMLElement
beforeEach(() => {
  URL.createObjectURL = () => 'blob:x'
  URL.revokeObjectURL = () => undefined
})
afterEach(() => {
  app?.unmount()
  document.body.replaceChildren()
  setLocale(before)
  vi.resetAllMocks()
})
function shown(language: 'zh-CN' | 'en', count: number): void {
  setLocale(language)
  place = document.createElement('div')
  document.body.append(place)
  app = createApp({ render: () => h(PhotoGrid, { of: 'reports', id: 'r', count }) })
  app.use(createTranslations({ 'zh-CN': zhCN, en }))
  app.mount(place)
}
const one = (id: string) => place.querySelector<HTMLElement>(`[data-photo=${id}]`)

describe('the photos of a report', () => {
  it('says that it looks for them until the first answer', async () => {
    let answer: (found: unknown) => void = () => undefined
    api.get.mockReturnValue(new Promise((resolve) => (answer = resolve)))
    shown('en', 1)
    expect(place.querySelector('[role=status]')!.textContent).toBe('Looking for photos…')
    answer({ items: [{ id: 'a', of: 'before', evidence: null }] })
    await vi.waitFor(() => expect(one('a')!.textContent).toContain('Still on the phone'))
    expect(place.textContent).not.toContain('Looking')
  })
  it.each([
    ['zh-CN', new Problem({ status: 403, code: 'forbidden' }), 'withheld', '无权查看'],
    ['en', new Problem({ status: 404, code: 'not_found' }), 'withheld', 'Not shown to you'],
    ['zh-CN', new Problem({ status: 410, code: 'content_missing' }), 'missing', '存储的文件缺失，请告知运维人员'],
    ['en', new Problem({ status: 410, code: 'content_missing' }), 'missing', 'The stored file is missing; tell the operator'],
    ['en', new Offline(), 'failed', 'Could not be loaded'],
  ] as const)('says why a picture is not shown, in %s: %s', async (language, error, state, text) => {
    api.get.mockResolvedValue({ items: [photo('a', 'before')] })
    api.response.mockRejectedValue(error)
    shown(language, 1)
    await vi.waitFor(() => expect(one('a')?.dataset.shown).toBe(state))
    expect(one('a')!.textContent).toContain(text)
    // Only what may come by it is asked for again.
    expect(one('a')!.querySelector('button') !== null).toBe(state === 'failed')
  })
  it('says why a photo was not taken', async () => {
    api.get.mockResolvedValue({ items: [photo('a', 'after', { state: 'rejected', reason: 'not_an_image', has_preview: false })] })
    shown('en', 1)
    await vi.waitFor(() => expect(one('a')!.textContent).toContain('It is no photo, or it is damaged.'))
    expect(one('a')!.dataset.state).toBe('rejected')
    expect(api.response).not.toHaveBeenCalled()
  })
  it('says of a recording what it is and how long, and opens one that nothing is seen of, unless it is damaged', async () => {
    api.get.mockResolvedValue({
      items: [
        photo('a', 'after', { kind: 'video', media_type: 'video/webm', duration_s: 75.4 }),
        photo('b', 'after', { kind: 'audio', media_type: 'audio/webm', duration_s: 9, has_preview: false }),
        photo('c', 'after', { kind: 'audio', media_type: 'audio/webm', duration_s: 9, has_preview: false, damage: 'altered' }),
      ],
    })
    api.response.mockResolvedValue({ blob: async () => new Blob(['x']) })
    shown('en', 3)
    await vi.waitFor(() => expect(one('a')?.querySelector('img')).not.toBeNull())
    expect(one('a')!.textContent).toContain('Video 1:15')
    expect(one('b')!.textContent).toContain('Audio 0:09')
    expect(one('c')!.querySelector('button')).toBeNull()
    expect(api.response).toHaveBeenCalledTimes(1)
    one('b')!.querySelector('button')!.click()
    await vi.waitFor(() => expect(document.querySelector('[data-testid=large-photo] [data-testid=play]')).not.toBeNull())
  })
  it('counts a photo among those of its kind', async () => {
    api.get.mockResolvedValue({ items: [photo('a', 'before'), photo('b', 'after'), photo('c', 'after')] })
    api.response.mockResolvedValue({ blob: async () => new Blob(['x']) })
    shown('en', 3)
    await vi.waitFor(() => expect(one('c')?.dataset.shown).toBe('here'))
    one('c')!.querySelector('button')!.click()
    await vi.waitFor(() => expect(document.querySelector('[data-testid=large-photo] img')!.getAttribute('alt')).toBe('After, photo 2 of 2'))
  })
})
