import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import en from '@/desk/locales/en'
import zhCN from '@/desk/locales/zh-CN'
import sharedEn from '@/shared/locales/en'
import sharedZh from '@/shared/locales/zh-CN'

const ROOT = join(__dirname, '../../src/desk')
const files = readdirSync(ROOT, { recursive: true, encoding: 'utf8' }).filter((name) => /\.(vue|ts)$/.test(name) && !name.includes('locales'))

/** Every text that the desk asks for by a name which stands in the code as a whole. */
const asked = new Set(
  files.flatMap((name) => [...readFileSync(join(ROOT, name), 'utf8').matchAll(/\bt\(\s*'([\w.]+)'/g)].map((found) => found[1]!)),
)

describe('the texts of the desk', () => {
  it.each([
    ['zh-CN', { ...sharedZh, ...zhCN }],
    ['en', { ...sharedEn, ...en }],
  ] as const)('are there for every name that the code asks for, in %s', (_, texts) => {
    const text = (key: string): unknown =>
      key.split('.').reduce<unknown>((part, name) => (part as Record<string, unknown> | undefined)?.[name], texts)
    expect(asked.size).toBeGreaterThan(300)
    expect([...asked].filter((key) => text(key) === undefined)).toEqual([])
  })
})
