/** Sentences about tasks and alarms that the queue, the map, the cards and the banner share. */
import { locale, named } from '@/shared/i18n'
import { duration } from '@/shared/time'
import type { Locale } from '@/shared/types'
import type { DeskAlarm, DeskTask } from '../types'

type Translate = (key: string, values?: Record<string, unknown>) => string

export function taskTitle(task: DeskTask, chosen: Locale = locale.value): string {
  return named(task.kind.name, chosen) || task.kind.code
}

export function alarmTitle(alarm: DeskAlarm, t: Translate): string {
  return t(`dispatch.alarmKind.${alarm.kind}`)
}

/** Whom an alarm is about, or what. */
export function alarmAbout(alarm: DeskAlarm, t: Translate): string {
  const person = alarm.officer ?? alarm.resident
  if (person) return person.display_name
  if (alarm.source === 'area') return named(alarm.area.name, locale.value)
  return alarm.device ?? t(`dispatch.alarmSource.${alarm.source}`)
}

/** How long a way takes; below a minute seconds would pretend an exactness that an estimate has not. */
export function eta(seconds: number, t: Translate, chosen: Locale = locale.value): string {
  return seconds < 60 ? t('dispatch.etaSoon') : t('dispatch.eta', { time: duration(Math.ceil(seconds / 60) * 60, chosen) })
}
