/** What came of a task, in the words of its kind: the items of its checklist and its questions, in the kind's order. */
import { named } from './i18n'
import type { Named } from './types'

interface Kind {
  checklist: readonly { id: string; text: Named }[]
  questions: readonly { id: string; text: Named; choices?: readonly { id: string; text: Named }[] }[]
}
interface Result {
  checklist: Record<string, boolean>
  answers: Record<string, unknown>
}

/** What the kind does not ask any more, because it was changed since, stands at the end under its id. */
export function resultWords(kind: Kind | null | undefined, result: Result | null, words: { yes: string; no: string }) {
  const checklist = Object.entries(result?.checklist ?? {})
  const answers = Object.entries(result?.answers ?? {})
  const items = kind?.checklist ?? []
  const questions = kind?.questions ?? []
  const rank = (among: readonly { id: string }[], id: string) => {
    const at = among.findIndex((one) => one.id === id)
    return at < 0 ? among.length : at
  }
  return {
    items: checklist
      .map(([id, ticked]) => ({ id, ticked, text: named(items.find((one) => one.id === id)?.text) || id }))
      .sort((a, b) => rank(items, a.id) - rank(items, b.id)),
    answers: answers
      .map(([id, answer]) => {
        const question = questions.find((one) => one.id === id)
        const choice = question?.choices?.find((one) => one.id === answer)
        const text = typeof answer === 'boolean' ? (answer ? words.yes : words.no) : named(choice?.text) || String(answer)
        return { id, question: named(question?.text) || id, text }
      })
      .sort((a, b) => rank(questions, a.id) - rank(questions, b.id)),
  }
}
