import { describe, expect, it } from 'vitest'
import { at, glideTo, isDone } from '@/desk/map/glide'
import { group, placeLabels, type Dot } from '@/desk/map/declutter'
import { shapeOf } from '@/desk/map/symbols'
import { DARK_PALETTE, LIGHT_PALETTE } from '@/desk/map/palette'
import { metresBetween } from '@/desk/live/status'
import { extend, figuresOf, GAP_S } from '@/desk/live/trail'
import { areaTree, withDescendants } from '@/desk/live/areas'
import { octant } from '@/desk/live/words'
import { fromWgs84, toWgs84 } from '@/shared/datum'
import type { Area, Trail } from '@/desk/types'
import type { LonLat, OfficerStatus } from '@/shared/types'

describe('a point on a base map', () => {
  it('that is drawn on a GCJ-02 or BD-09 base comes back within a metre (of WGS-84)', () => {
    let worst = 0
    for (const datum of ['gcj02', 'bd09'] as const) {
      for (let lon = 80; lon <= 130; lon += 2.37) {
        for (let lat = 20; lat <= 50; lat += 1.73) {
          // The way of a click: what the desk sees lies in the base's datum; what it sends is WGS-84; what it draws is both.
          const drawn: LonLat = [lon, lat]
          const sent = toWgs84(drawn, datum)
          const again = fromWgs84(sent, datum)
          worst = Math.max(worst, metresBetween(drawn[0], drawn[1], again[0], again[1]))
          const back = toWgs84(again, datum)
          worst = Math.max(worst, metresBetween(sent[0], sent[1], back[0], back[1]))
        }
      }
    }
    expect(worst).toBeLessThan(1)
  })
  it('is moved by hundreds of metres in mainland China, and not at all on a WGS-84 base', () => {
    const place: LonLat = [121.47, 31.23]
    const [lon, lat] = fromWgs84(place, 'gcj02')
    expect(metresBetween(place[0], place[1], lon, lat)).toBeGreaterThan(300)
    expect(fromWgs84(place, 'wgs84')).toEqual(place)
  })
})

describe('a marker', () => {
  it('glides to the next fix in about the time between the fixes, for at most five seconds', () => {
    const glide = glideTo({ x: 0, y: 0 }, { x: 1, y: 2 }, 1000, 4, 5, true)
    expect(at(glide, 1000)).toEqual({ x: 0, y: 0 })
    expect(at(glide, 3000)).toEqual({ x: 0.5, y: 1 })
    expect(at(glide, 9000)).toEqual({ x: 1, y: 2 })
    expect(isDone(glide, 5000)).toBe(true)
    expect(glideTo({ x: 0, y: 0 }, { x: 1, y: 2 }, 0, 60, 50, true).durationMs).toBe(5000)
  })
  it('is set, not moved, after a silence, over a long jump, and for whoever wants less motion', () => {
    for (const [interval, jump, smooth] of [
      [200, 50, true],
      [5, 900, true],
      [5, 5, false],
      [-3, 5, true],
    ] as const) {
      expect(at(glideTo({ x: 0, y: 0 }, { x: 1, y: 1 }, 0, interval, jump, smooth), 0)).toEqual({ x: 1, y: 1 })
    }
  })
  it('has a shape of its own for each status, in a colour of its own', () => {
    const statuses: OfficerStatus[] = ['moving', 'still', 'silent', 'unlocated']
    expect(new Set(statuses.map(shapeOf)).size).toBe(4)
    for (const palette of [DARK_PALETTE, LIGHT_PALETTE]) {
      expect(new Set(statuses.map((status) => palette.status[status])).size).toBe(4)
    }
  })
})

describe('a crowd', () => {
  const dot = (id: string, x: number, y: number, apart = false, status: OfficerStatus = 'moving'): Dot => ({
    id, x, y, status, apart,
  })
  it('becomes a bubble with its statuses, and the selected one stays outside', () => {
    const { bubbles, single } = group(
      [dot('1', 5, 5), dot('2', 8, 6, false, 'silent'), dot('3', 9, 9), dot('4', 7, 7, true), dot('5', 200, 5)],
      30, 3, 0, 0,
    )
    expect(bubbles).toHaveLength(1)
    expect(bubbles[0]).toMatchObject({ ids: ['1', '2', '3'], counts: { moving: 2, silent: 1 } })
    expect(single.sort()).toEqual(['4', '5'])
  })
  it('keeps its members while the map is dragged', () => {
    const crowd = (dx: number) => [dot('1', 40 + dx, 5), dot('2', 50 + dx, 6), dot('3', 55 + dx, 9)]
    const members = (dx: number) => group(crowd(dx), 30, 3, -dx, 0).bubbles.map((one) => one.ids)
    expect(members(-17)).toEqual(members(0))
    expect(members(23)).toEqual(members(0))
  })
  it('is one bubble where it lies over the edge of two cells', () => {
    const both = [28, 29, 29.5, 30, 31, 32].map((x, at) => dot(String(at), x, 10))
    expect(group(both, 30, 3, 0, 0).bubbles).toHaveLength(1)
  })
  it('labels nobody over another, the selected always, and whoever had a label keeps it', () => {
    const box = (left: number) => ({ left, right: left + 40, top: 0, bottom: 18 })
    const wishes = [
      { id: 'a', box: box(0), priority: 2 },
      { id: 'b', box: box(30), priority: 2 },
      { id: 'c', box: box(100), priority: 2 },
    ]
    expect([...placeLabels(wishes, new Set(), [])]).toEqual(['a', 'c'])
    expect([...placeLabels(wishes, new Set(['b']), [])].sort()).toEqual(['b', 'c'])
    const selected = [...wishes, { id: 's', box: box(10), priority: 0 }]
    expect(placeLabels(selected, new Set(['a', 'b']), []).has('s')).toBe(true)
    expect(placeLabels(selected, new Set(['a', 'b']), []).has('a')).toBe(false)
  })
})

describe('a trail', () => {
  const trail = (): Trail => ({ officer_id: 'o', segments: [[[121, 31, 100, 5], [121.001, 31, 110, 5]]] })
  it('grows by newer fixes only, and begins a new piece after a gap', () => {
    const grown = trail()
    expect(extend(grown, [121.002, 31, 105, 5])).toBe(false)
    expect(extend(grown, [121.002, 31, 120, 5])).toBe(true)
    expect(extend(grown, [121.01, 31, 120 + GAP_S + 1, 5])).toBe(true)
    expect(grown.segments.map((one) => one.length)).toEqual([3, 1])
    expect(figuresOf(grown.segments)).toMatchObject({ gaps: 1, points: 4 })
  })
  it('counts no way across a gap', () => {
    const grown = trail()
    const before = figuresOf(grown.segments).lengthM
    extend(grown, [121.5, 31, 5000, 5])
    expect(figuresOf(grown.segments).lengthM).toBe(before)
    expect(before).toBeCloseTo(95.4, 0)
  })
  it('begins with the first fix where there was none', () => {
    const empty: Trail = { officer_id: 'o', segments: [] }
    expect(extend(empty, [121, 31, 1, null])).toBe(true)
    expect(empty.segments).toHaveLength(1)
  })
})

describe('areas', () => {
  const area = (id: string, parent: string | null, code = id): Area => ({
    id, parent_id: parent, kind: 'community', code, name: { 'zh-CN': id, en: id }, center: [0, 0], bounds: [0, 0, 1, 1],
  })
  const list = [area('town', 'elsewhere'), area('c10', 'town'), area('c2', 'town'), area('g', 'c2')]
  it('form a tree whose top is what this desk may see', () => {
    const tree = areaTree(list)
    expect(tree.map((node) => node.value)).toEqual(['town'])
    expect(tree[0]!.children.map((node) => node.value)).toEqual(['c2', 'c10'])
  })
  it('include everything below the chosen one', () => {
    expect([...withDescendants(list, 'c2')].sort()).toEqual(['c2', 'g'])
    expect(withDescendants(list, 'town').size).toBe(4)
  })
})

it('names eight directions', () => {
  expect([0, 44, 46, 180, 359, -90, 337.4].map(octant)).toEqual([0, 1, 1, 4, 0, 6, 7])
})
