/** Colours of the desk's maps. Status is never told by colour alone: each has a shape of its own (`symbols.ts`). */
import { DARK, LIGHT, type MapTheme } from '@/shared/map'
import type { OfficerStatus } from '@/shared/types'

export interface Palette {
  map: MapTheme
  status: Record<OfficerStatus, string>
  /** Of everything while the connection is lost. */
  stale: string
  rim: string
  ink: string
  halo: string
  accent: string
  bubble: string
}

export const DARK_PALETTE: Palette = {
  map: {
    ...DARK,
    background: '#0b131c',
    areaFill: '#0f1b27',
    compoundFill: '#15283a',
    areaLine: '#3a5a76',
    road: '#2e4459',
    roadCasing: '#0a1119',
    water: '#12405f',
    label: '#8fa6bb',
    labelHalo: '#0b131c',
  },
  status: { moving: '#2ad4a4', still: '#5aa2ff', silent: '#ff7a45', unlocated: '#8b98a8' },
  stale: '#7c8a99',
  rim: '#f4f8fc',
  ink: '#eaf1f8',
  halo: '#0b131c',
  accent: '#ffd666',
  bubble: '#16222f',
}

export const LIGHT_PALETTE: Palette = {
  map: {
    ...LIGHT,
    background: '#eceff2',
    areaFill: '#f5f7f8',
    compoundFill: '#e6ecf1',
    areaLine: '#8ba3b8',
    road: '#ffffff',
    roadCasing: '#d3dae1',
    water: '#a9cfe6',
    label: '#5b6f82',
    labelHalo: '#f7f9fa',
  },
  status: { moving: '#0a8f6c', still: '#2367d6', silent: '#d9480f', unlocated: '#6b7785' },
  stale: '#7c8894',
  rim: '#ffffff',
  ink: '#16212c',
  halo: '#ffffff',
  accent: '#c77700',
  bubble: '#ffffff',
}

export function paletteOf(dark: boolean): Palette {
  return dark ? DARK_PALETTE : LIGHT_PALETTE
}
