/** What the next shift is going to be: kept apart from its screen, because the notice is read in between. */
import { reactive } from 'vue'
import type { Travel } from '@/shared/types'

export const nextShift = reactive({
  areaId: null as string | null,
  /** Hours from now, or null when an hour of the day was chosen. */
  hours: 8 as number | null,
  endsAt: null as Date | null,
  together: false,
  callSign: '',
  travel: 'foot' as Travel,
  memberIds: [] as string[],
})
