import { describe, expect, it } from 'vitest'
import { named, readLocale } from '@/shared/i18n'

type Tree = { [key: string]: string | Tree }
const files = import.meta.glob<{ default: Tree }>('../src/*/locales/*.ts', { eager: true })

function flat(tree: Tree, prefix = ''): Map<string, string> {
  const found = new Map<string, string>()
  for (const [key, value] of Object.entries(tree)) {
    if (typeof value === 'string') found.set(prefix + key, value)
    else for (const [inner, text] of flat(value, `${prefix}${key}.`)) found.set(inner, text)
  }
  return found
}
const blanks = (text: string) => [...new Set([...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name))].sort()

const clients = [...new Set(Object.keys(files).map((path) => path.split('/').at(-3)!))]

describe.each(clients)('the texts of %s', (client) => {
  const texts = (locale: string) => {
    const path = Object.keys(files).find((one) => one.endsWith(`/${client}/locales/${locale}.ts`))
    expect(path, `${client} has ${locale}`).toBeDefined()
    return flat(files[path!]!.default)
  }

  it('have the same keys in Chinese and in English', () => {
    expect([...texts('en').keys()].sort()).toEqual([...texts('zh-CN').keys()].sort())
  })
  it('fill the same blanks in both languages and leave no text empty', () => {
    const english = texts('en')
    for (const [key, text] of texts('zh-CN')) {
      expect(text.trim(), key).not.toBe('')
      expect(english.get(key)?.trim(), key).toBeTruthy()
      expect(blanks(english.get(key) ?? ''), key).toEqual(blanks(text))
    }
  })
  it('are in English in the English file; the other language has its own name, and a term may stand in brackets', () => {
    for (const [key, text] of texts('en')) {
      if (!/language/i.test(key)) expect(text.replace(/\([^)]*\)/g, ''), key).not.toMatch(/[\u4e00-\u9fff]/)
    }
  })
})

describe('the texts that the code names', () => {
  const sources = import.meta.glob<string>('../src/**/*.{ts,vue}', { query: '?raw', import: 'default', eager: true })
  const keysOf = (owner: string) => {
    const path = Object.keys(files).find((one) => one.endsWith(`/${owner}/locales/en.ts`))!
    return [...flat(files[path]!.default).keys()]
  }
  it.each(clients)('are there: %s', (client) => {
    // What is shared is said by each client in its own words, or in the shared ones.
    const there = new Set([...keysOf('shared'), ...(client === 'shared' ? clients.flatMap(keysOf) : keysOf(client))])
    for (const [path, source] of Object.entries(sources)) {
      if (!path.includes(`/src/${client}/`)) continue
      for (const [, key] of source.matchAll(/[^\w$]t\(\s*'([\w.]+)'/g)) expect(there.has(key!), `${key} in ${path}`).toBe(true)
    }
  })
})

describe('the choice of language', () => {
  it('is what was chosen, else what the browser prefers, else Chinese', () => {
    expect(readLocale('en', ['zh-CN'])).toBe('en')
    expect(readLocale(null, ['fr', 'en-GB', 'zh'])).toBe('en')
    expect(readLocale(null, ['zh-TW', 'en'])).toBe('zh-CN')
    expect(readLocale(null, ['fr'])).toBe('zh-CN')
    expect(readLocale('de', [])).toBe('zh-CN')
  })
  it('names things in the language asked for and falls back to what there is', () => {
    expect(named({ 'zh-CN': '镇', en: 'Town' }, 'en')).toBe('Town')
    expect(named({ 'zh-CN': '镇', en: '' }, 'en')).toBe('镇')
    expect(named(null)).toBe('')
  })
})
