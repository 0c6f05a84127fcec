/** Bundles of evidence: what is asked for, and in one word how far it is. */
import type { EvidenceExport } from '../types'

export const EXPORTS = '/api/v1/desk/evidence-exports'

export function standingOf(one: EvidenceExport): 'making' | 'ready' | 'failed' | 'over' {
  if (one.failed_at) return 'failed'
  if (one.dropped_at) return 'over'
  return one.ready_at ? 'ready' : 'making'
}

const UNITS = ['kilobyte', 'megabyte', 'gigabyte'] as const
/** Bytes as people read them, in the powers of ten that their file managers show. */
export function sizeOf(bytes: number, locale: string): string {
  const step = Math.min(2, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3) - 1))
  return new Intl.NumberFormat(locale, { style: 'unit', unit: UNITS[step], maximumSignificantDigits: 3 }).format(bytes / 1000 ** (step + 1))
}
