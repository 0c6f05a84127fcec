/** Who is on shift, in the order of the list beside the map, and what the list is narrowed to. */
import { computed, ref } from 'vue'
import type { OfficerStatus } from '@/shared/types'
import { nowMs } from '../client'
import { areas } from './area-list'
import { withDescendants } from './areas'
import { arrange, type Arranged, type Order } from './attention'
import { feed } from './current'

const NOBODY: Arranged = { rows: [], counts: { moving: 0, still: 0, silent: 0, unlocated: 0 }, total: 0 }

export function useListing() {
  const text = ref('')
  const areaId = ref<string | null>(null)
  const statuses = ref<OfficerStatus[]>([])
  const order = ref<Order>('attention')
  const areaIds = computed(() => (areaId.value ? withDescendants(areas.value, areaId.value) : null))
  const narrowed = computed(() => text.value.trim() !== '' || areaId.value !== null || statuses.value.length > 0)

  const arranged = computed<Arranged>(() => {
    const of = feed.value
    // The roster is not reactive, a thousand rows would be watched for nothing: its version and the second hand are.
    if (!of || of.version.value < 0) return NOBODY
    const narrowing = { text: text.value, areaIds: areaIds.value, statuses: new Set(statuses.value), order: order.value }
    return arrange(of.roster.officers.values(), narrowing, nowMs.value / 1000)
  })
  /** Whom the map shows, null for everybody. */
  const only = computed(() => (narrowed.value ? new Set(arranged.value.rows.map(({ id }) => id)) : null))
  const loading = computed(() => !(feed.value?.complete.value ?? false) && arranged.value.total === 0)

  function clear(): void {
    text.value = ''
    areaId.value = null
    statuses.value = []
  }

  return { text, areaId, statuses, order, arranged, only, loading, clear }
}
export type Listing = ReturnType<typeof useListing>
