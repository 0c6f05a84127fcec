/** What waits to be dispatched: the rows of the queue, within an area if one is chosen, and their symbols on the map. */
import { computed, ref } from 'vue'
import { useI18n } from 'vue-i18n'
import { locale } from '@/shared/i18n'
import { nowMs } from '../client'
import { areas } from '../live/area-list'
import { withDescendants } from '../live/areas'
import { draftPlace } from './choosing'
import { dispatch } from './current'
import type { PinLook } from './pins'
import { queueOf, type Row } from './queue'
import { alarmAbout, alarmTitle, taskTitle } from './words'

export function useWaiting() {
  const { t } = useI18n()
  const areaId = ref<string | null>(null)
  const areaIds = computed(() => (areaId.value ? withDescendants(areas.value, areaId.value) : null))
  /** Wherever it is: the map shows all of it. */
  const everything = computed<Row[]>(() => {
    const of = dispatch.value
    return of ? queueOf(of.tasks.open.values(), of.alarms.open.values(), null, nowMs.value) : []
  })
  const rows = computed<Row[]>(() => {
    const inside = areaIds.value
    if (!inside) return everything.value
    return everything.value.filter((one) => one.burns || inside.has((one.kind === 'task' ? one.task : one.alarm).area.id))
  })
  const burning = computed(() => everything.value.some((one) => one.burns || one.overdue))

  function pinOf(one: Row): PinLook[] {
    if (!one.place) return []
    const { place, priority, overdue, burns } = one
    if (one.kind === 'task') {
      const label = taskTitle(one.task, locale.value)
      const title = t('dispatch.pin', { title: `${label} ${one.task.number}`, state: t(`dispatch.taskState.${one.task.state}`) })
      return [{ key: `task/${one.id}`, place, title, label, task: one.task.state, priority, overdue, burns }]
    }
    const { kind: alarm, state: alarmState } = one.alarm
    const label = `${alarmTitle(one.alarm, t)} · ${alarmAbout(one.alarm, t)}`
    const title = t('dispatch.pin', { title: label, state: t(`dispatch.alarmState.${alarmState}`) })
    return [{ key: `alarm/${one.id}`, place, title, label, alarm, alarmState, priority, overdue, burns, quiet: alarm !== 'sos' }]
  }
  const pins = computed<PinLook[]>(() => {
    const found = everything.value.flatMap(pinOf)
    if (draftPlace.value) {
      const title = t('dispatch.create.title')
      found.push({ key: 'new', place: draftPlace.value, title, label: title, task: 'new' })
    }
    return found
  })

  return { areaId, everything, rows, burning, pins }
}
export type Waiting = ReturnType<typeof useWaiting>
