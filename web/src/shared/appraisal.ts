/** Figures of an appraisal and what they were made of, in words: alike at the desk and on the officer's phone. */
import { distance } from './distance'
import { named } from './i18n'
import { dayClock, duration } from './time'
import type { Locale } from './types'

export interface Figure {
  code: string
  unit: string
  value: number | null
  numerator: number
  denominator: number
  unproven: number
  p90_s: number | null
  by_cause: Record<string, number> | null
  inputs: number
  excluded: number
}
export interface Made {
  figure: string
  facts: Record<string, unknown>
  correction: Record<string, unknown> | null
  exclusion_reason: string | null
}
type Say = (key: string, params?: Record<string, unknown>) => string

/** 1 分 20 秒: times of seconds are told to the second up to ten minutes. */
export function exactly(seconds: number, locale: Locale): string {
  const whole = Math.round(seconds)
  if (whole < 60 || whole >= 600) return duration(whole, locale)
  const rest = whole % 60
  return locale === 'zh-CN' ? `${Math.floor(whole / 60)} 分${rest ? ` ${rest} 秒` : '钟'}` : `${Math.floor(whole / 60)} min${rest ? ` ${rest} s` : ''}`
}

/** The figure itself; a dash where there was nothing to be judged. */
export function valueOf(figure: Figure, t: Say, locale: Locale): string {
  if (figure.value === null) return '–'
  if (figure.code === 'silent') return exactly(figure.numerator, locale)
  if (figure.unit === 'share') return t('appraisal.percent', { n: (100 * figure.value).toFixed(1) })
  return exactly(figure.value, locale)
}

/** What stands below it: of how many, within which time, by which cause, and what does not count. */
export function smallPrint(figure: Figure, t: Say, locale: Locale): string[] {
  const lines: string[] = []
  if (figure.code === 'silent' && figure.value !== null) lines.push(t('appraisal.percent', { n: (100 * figure.value).toFixed(1) }))
  else if (figure.code !== 'duty' && figure.denominator > 0) lines.push(t('appraisal.parts', { numerator: figure.numerator, denominator: figure.denominator }))
  if (figure.p90_s !== null) lines.push(t('appraisal.p90', { time: exactly(figure.p90_s, locale) }))
  for (const [cause, seconds] of Object.entries(figure.by_cause ?? {})) lines.push(`${t(`appraisal.cause.${cause}`)} ${exactly(seconds, locale)}`)
  if (figure.unproven > 0) lines.push(t('appraisal.unproven', { n: figure.unproven }))
  if (figure.excluded > 0) lines.push(t('appraisal.excluded', { n: figure.excluded }))
  return lines
}

/** One thing that a figure was made of: what it was, and what is known of it, as it counts. */
export function tell(made: Made, t: Say, locale: Locale): { title: string; lines: string[] } {
  const facts = { ...made.facts, ...made.correction }
  const at = (name: string) => (typeof facts[name] === 'string' ? dayClock(facts[name], locale) : '–')
  const took = (from: string, to: string) => (Date.parse(String(facts[to])) - Date.parse(String(facts[from]))) / 1000
  const time = (seconds: unknown) => exactly(Number(seconds), locale)
  const name = (value: unknown) => named(value as { 'zh-CN': string; en: string }, locale)
  const lines: (string | false | null | undefined)[] = []
  let title = ''
  if (made.figure === 'rounds_on_time') {
    title = `#${facts.number} ${name(facts.route)}`
    const onTime = typeof facts.on_time === 'boolean' ? facts.on_time : null
    lines.push(t(`appraisal.patrolState.${facts.state}`) + (onTime ? ` · ${t('appraisal.fact.onTime')}` : ''))
    lines.push(facts.began_at ? t('appraisal.fact.round', { planned: at('scheduled_at'), began: at('began_at'), ended: at('ended_at') }) : t('appraisal.fact.missed', { planned: at('scheduled_at') }))
    if (onTime === null && facts.began_at) {
      lines.push(Boolean(facts.late_at) && String(facts.began_at) > String(facts.late_at) && t('appraisal.fact.late'))
      lines.push(facts.ended_at ? took('began_at', 'ended_at') - Number(facts.paused_s ?? 0) > Number(facts.allowed_s) && t('appraisal.fact.overtime') : null)
    }
    lines.push(Number(facts.paused_s) > 0 && t('appraisal.fact.paused', { time: time(facts.paused_s) }))
  } else if (made.figure === 'coverage') {
    title = `#${facts.number} ${name(facts.route)} · ${at('scheduled_at')}`
    lines.push(t('appraisal.fact.points', { visited: facts.visited, due: facts.due }))
    const left = (facts.not_visited ?? []) as { code: string; reason: string | null }[]
    const codes = left.map(({ code, reason }) => (reason ? t('appraisal.fact.skipped', { code, reason }) : code))
    lines.push(codes.length > 0 && t('appraisal.fact.notVisited', { codes: codes.join(locale === 'en' ? ', ' : '、') }))
  } else if (made.figure === 'acceptance' || made.figure === 'arrival') {
    const [from, to] = made.figure === 'acceptance' ? ['offered_at', 'accepted_at'] : ['accepted_at', 'arrived_at']
    title = `#${facts.number} ${name(facts.kind)} · ${at(from)}`
    if (typeof facts.seconds === 'number') lines.push(t('appraisal.fact.took', { time: time(facts.seconds) }))
    else lines.push(facts[to] ? t('appraisal.fact.took', { time: time(took(from, to)) }) : t(`appraisal.shareState.${facts.state}`))
    lines.push(facts.bound === true && t('appraisal.fact.bound'))
    lines.push(facts.suspended === true && t('appraisal.fact.interrupted'))
    lines.push(typeof facts.distance_m === 'number' && t('appraisal.fact.away', { far: distance(facts.distance_m, locale) }))
  } else {
    const [from, to] = made.figure === 'silent' ? ['heard_at', 'until_at'] : ['started_at', 'ended_at']
    const seconds = typeof facts.seconds === 'number' ? facts.seconds : took(from, to)
    title = t('appraisal.fact.span', { from: at(from), to: at(to), time: time(seconds) })
    if (made.figure === 'silent') {
      lines.push(t('appraisal.fact.cause', { cause: t(`appraisal.cause.${facts.cause}`) }))
      const { battery_pct: battery } = (facts.clues ?? {}) as { battery_pct?: number | null }
      lines.push(typeof battery === 'number' && t('appraisal.fact.battery', { n: Math.round(battery) }))
    }
  }
  lines.push(Number(facts.silent_s) > 0 && t('appraisal.fact.silent', { time: time(facts.silent_s) }))
  lines.push(typeof facts.reason === 'string' && t('appraisal.fact.reason', { text: facts.reason }))
  lines.push(typeof facts.explanation === 'string' && t('appraisal.fact.explanation', { text: facts.explanation }))
  lines.push(made.correction !== null && t('appraisal.fact.corrected'))
  lines.push(made.exclusion_reason !== null && t('appraisal.fact.left', { reason: made.exclusion_reason }))
  return { title, lines: lines.filter((line): line is string => typeof line === 'string' && line !== '') }
}
