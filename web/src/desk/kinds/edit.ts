/** A kind of task as it is edited: every text in both languages, times in minutes, and ids that stay what they were. */
import type { Priority, TaskKind, TaskKindBody } from '../types'

export interface Text {
  'zh-CN': string
  en: string
}
export interface Item {
  id: string
  text: Text
  required: boolean
}
export type Answer = 'text' | 'number' | 'yes_no' | 'choice' | 'photo'
export interface Question extends Item {
  answer: Answer
  choices: { id: string; text: Text }[]
}
export interface Draft {
  code: string
  name: Text
  priority: Priority
  officer_kinds: string[]
  skill: string | null
  needed: number
  checklist: Item[]
  questions: Question[]
  wants_evidence: boolean
  reportable: boolean
  offer_s: number
  accept_min: number | undefined
  arrive_min: number | undefined
  complete_min: number | undefined
}

const text = (of?: Record<string, string>): Text => ({ 'zh-CN': of?.['zh-CN'] ?? '', en: of?.en ?? '' })
const minutes = (seconds: number | null | undefined) => (seconds ? seconds / 60 : undefined)

export function draftOf(kind: TaskKind | null): Draft {
  return {
    code: kind?.code ?? '',
    name: text(kind?.name),
    priority: kind?.priority ?? 'normal',
    officer_kinds: [...(kind?.officer_kinds ?? [])],
    skill: kind?.skill ?? null,
    needed: kind?.needed ?? 1,
    checklist: (kind?.checklist ?? []).map((item) => ({ id: item.id, text: text(item.text), required: item.required ?? false })),
    questions: (kind?.questions ?? []).map((item) => ({
      id: item.id,
      text: text(item.text),
      required: item.required ?? false,
      answer: item.answer,
      choices: (item.choices ?? []).map((choice) => ({ id: choice.id, text: text(choice.text) })),
    })),
    wants_evidence: kind?.wants_evidence ?? false,
    reportable: kind?.reportable ?? true,
    offer_s: kind?.offer_s ?? 90,
    accept_min: minutes(kind?.accept_within_s),
    arrive_min: minutes(kind?.arrive_within_s),
    complete_min: minutes(kind?.complete_within_s),
  }
}

/** An id that no other has: what was answered before keeps its meaning, because ids are never given anew. */
export function freshId(prefix: string, taken: readonly { id: string }[]): string {
  const used = new Set(taken.map((one) => one.id))
  let number = taken.length + 1
  while (used.has(`${prefix}_${number}`)) number += 1
  return `${prefix}_${number}`
}

export function move<T>(list: readonly T[], from: number, by: number): T[] {
  const to = from + by
  if (to < 0 || to >= list.length) return [...list]
  const moved = [...list]
  const [one] = moved.splice(from, 1)
  moved.splice(to, 0, one!)
  return moved
}

const complete = (of: Text) => of['zh-CN'].trim() !== '' && of.en.trim() !== ''

/** What is wrong with it, as a key of the texts; null when it can be saved. */
export function problemOf(draft: Draft): 'needNames' | 'needTexts' | null {
  if (!/^[a-z0-9][a-z0-9_]{0,39}$/.test(draft.code) || !complete(draft.name)) return 'needNames'
  const told = [...draft.checklist, ...draft.questions].every((item) => complete(item.text))
  const choices = draft.questions.every(
    (question) => question.answer !== 'choice' || (question.choices.length >= 2 && question.choices.every((one) => complete(one.text))),
  )
  return told && choices ? null : 'needTexts'
}

const trimmed = (of: Text): Text => ({ 'zh-CN': of['zh-CN'].trim(), en: of.en.trim() })
const seconds = (given: number | undefined | null) => (given ? Math.round(given * 60) : null)

export function bodyOf(draft: Draft): TaskKindBody {
  return {
    name: { ...trimmed(draft.name) },
    priority: draft.priority,
    officer_kinds: draft.officer_kinds as TaskKindBody['officer_kinds'],
    skill: draft.skill,
    needed: draft.needed,
    checklist: draft.checklist.map((item) => ({ id: item.id, text: { ...trimmed(item.text) }, required: item.required })),
    // Photos as an answer are offered by the form of a checkpoint alone.
    questions: draft.questions.map((item) => ({
      id: item.id,
      text: { ...trimmed(item.text) },
      required: item.required,
      answer: item.answer,
      choices: item.answer === 'choice' ? item.choices.map((one) => ({ id: one.id, text: { ...trimmed(one.text) } })) : [],
    })) as TaskKindBody['questions'],
    wants_evidence: draft.wants_evidence,
    reportable: draft.reportable,
    offer_s: draft.offer_s,
    accept_within_s: seconds(draft.accept_min),
    arrive_within_s: seconds(draft.arrive_min),
    complete_within_s: seconds(draft.complete_min),
  }
}
