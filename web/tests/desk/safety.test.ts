/** F60: what people type is text on every screen of the desk. */
import { expect, it } from 'vitest'

const sources = import.meta.glob<string>('../../src/desk/**/*.{vue,ts}', { query: '?raw', import: 'default', eager: true })

it('no template and no script of the desk turns text into markup', () => {
  expect(Object.keys(sources).length).toBeGreaterThan(30)
  for (const [path, source] of Object.entries(sources)) {
    expect(source, path).not.toMatch(/v-html|innerHTML|outerHTML|insertAdjacentHTML|document\.write|dangerouslyUseHTMLString/)
    expect(source, path).not.toMatch(/\beval\(|new Function\(/)
  }
})
