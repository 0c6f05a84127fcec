import { describe, expect, it } from 'vitest'
import { faultOf, PRESETS, type BasemapDraft } from '@/desk/basemap/presets'
import { randomPassword } from '@/desk/people/password'
import { namesOver, tileUrls } from '@/shared/tile-urls'
import en from '@/desk/locales/en'
import zhCN from '@/desk/locales/zh-CN'

describe('the presets of base maps', () => {
  it('begin with 天地图 and carry the key into the address, escaped', () => {
    expect(PRESETS[0]!.key).toBe('tianditu_vec')
    const draft = PRESETS[0]!.draft('a b&c')
    expect(draft.url).toContain('tk=a%20b%26c')
    expect(faultOf(draft)).toBeNull()
  })
  it('have names in both languages and pass the check as soon as they are filled in', () => {
    for (const preset of PRESETS) {
      expect(zhCN.basemaps.presets, preset.key).toHaveProperty(preset.key)
      expect(en.basemaps.presets, preset.key).toHaveProperty(preset.key)
      const draft = preset.draft('key')
      const filled: BasemapDraft = {
        ...draft,
        url: draft.url === 'https://' ? 'https://tiles.example.cn/{z}/{x}/{y}.png' : draft.url,
        name: { 'zh-CN': '甲', en: 'A' },
        approval_number: 'GS 1',
      }
      expect(faultOf(filled), preset.key).toBeNull()
    }
  })
})

describe('a base map that is edited', () => {
  const good: BasemapDraft = {
    kind: 'raster',
    url: 'https://t.example.cn/{z}/{x}/{y}.png',
    name: { 'zh-CN': '甲', en: 'A' },
    datum: 'wgs84',
    approval_number: '',
    attribution: '',
  }
  it('is refused without a name or an address, with an address that is none, or without places for tiles', () => {
    expect(faultOf(good)).toBeNull()
    expect(faultOf({ ...good, name: { 'zh-CN': ' ', en: 'A' } })).toBe('needed')
    expect(faultOf({ ...good, url: 'https://' })).toBe('needed')
    expect(faultOf({ ...good, url: 'javascript:alert(1)' })).toBe('invalidUrl')
    expect(faultOf({ ...good, url: 'https://t.example.cn/"onload' })).toBe('invalidUrl')
    expect(faultOf({ ...good, url: 'https://t.example.cn/{z}/{x}.png' })).toBe('invalidUrl')
  })
  it('in a Chinese datum needs its approval number', () => {
    expect(faultOf({ ...good, datum: 'gcj02' })).toBe('approvalNeeded')
    expect(faultOf({ ...good, datum: 'bd09', approval_number: 'GS(2024)1号' })).toBeNull()
  })
})

describe('an address of tiles', () => {
  it('is spelt out for numbered hosts', () => {
    expect(tileUrls('https://t{0-2}.example.cn/{z}')).toEqual([0, 1, 2].map((n) => `https://t${n}.example.cn/{z}`))
    expect(tileUrls('https://{s}.example.cn/{z}')).toHaveLength(3)
    expect(tileUrls('/tiles/{z}/{x}/{y}.png')).toEqual(['/tiles/{z}/{x}/{y}.png'])
  })
  it('of 天地图 has a second one for the names, and of others none', () => {
    const names = namesOver(PRESETS[0]!.draft('k').url)
    expect(names).toContain('/cva_w/wmts?')
    expect(names).toContain('LAYER=cva&')
    expect(namesOver(PRESETS[1]!.draft('k').url)).toContain('/cia_w/')
    expect(namesOver('https://t.example.cn/vec_w/wmts?LAYER=vec')).toBeNull()
  })
})

it('makes first passwords that differ and hold no letters that are mistaken for each other', () => {
  const made = Array.from({ length: 50 }, () => randomPassword())
  expect(new Set(made).size).toBe(50)
  for (const password of made) expect(password).toMatch(/^([a-hj-km-np-zA-HJ-NP-Z2-9]{4}-){3}[a-hj-km-np-zA-HJ-NP-Z2-9]{4}$/)
})
