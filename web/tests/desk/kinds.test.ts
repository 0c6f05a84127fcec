import { describe, expect, it } from 'vitest'
import { bodyOf, draftOf, freshId, move, problemOf } from '@/desk/kinds/edit'
import type { TaskKind } from '@/desk/types'

const KIND = {
  id: 'k', code: 'check', name: { 'zh-CN': '核查', en: 'Check' }, priority: 'high', officer_kinds: ['patrol'], skill: 'first_aid',
  needed: 2, checklist: [{ id: 'vest', text: { 'zh-CN': '反光衣', en: 'Vest' }, required: true }],
  questions: [
    { id: 'found', text: { 'zh-CN': '属实', en: 'True?' }, answer: 'yes_no', choices: [], required: true },
    { id: 'how', text: { 'zh-CN': '结果', en: 'How' }, answer: 'choice', required: false, choices: [
      { id: 'a', text: { 'zh-CN': '甲', en: 'A' } }, { id: 'b', text: { 'zh-CN': '乙', en: 'B' } } ] },
  ],
  wants_evidence: true, reportable: true, offer_s: 60, accept_within_s: 180, arrive_within_s: 90, complete_within_s: null,
  created_at: '2026-11-23T08:00:00Z', retired_at: null, version: 3, actions: ['change'],
} as unknown as TaskKind

describe('editing a kind of task', () => {
  it('saves what it read, to the last field, when nothing was changed', () => {
    const { id, code, created_at, retired_at, version, actions, ...rest } = KIND as TaskKind & Record<string, unknown>
    void [id, code, created_at, retired_at, version, actions]
    expect(bodyOf(draftOf(KIND))).toEqual(rest)
    expect(problemOf(draftOf(KIND))).toBeNull()
  })

  it('does not write into what it was made from', () => {
    const draft = draftOf(KIND)
    draft.questions[1]!.choices[0]!.text.en = 'changed'
    draft.checklist[0]!.text.en = 'changed'
    expect(JSON.stringify(KIND)).not.toContain('changed')
  })

  it('refuses a code, a text in one language, and a choice with one answer', () => {
    expect(problemOf({ ...draftOf(KIND), code: 'No Good' })).toBe('needNames')
    expect(problemOf({ ...draftOf(KIND), name: { 'zh-CN': '核查', en: ' ' } })).toBe('needNames')
    const draft = draftOf(KIND)
    draft.questions[1]!.choices.pop()
    expect(problemOf(draft)).toBe('needTexts')
    const other = draftOf(KIND)
    other.checklist[0]!.text.en = ''
    expect(problemOf(other)).toBe('needTexts')
  })

  it('gives a new item an id that none has, and moves without losing any', () => {
    expect(freshId('c', [{ id: 'c_2' }])).toBe('c_3')
    expect(freshId('c', [])).toBe('c_1')
    expect(move(['a', 'b', 'c'], 0, 1)).toEqual(['b', 'a', 'c'])
    expect(move(['a', 'b', 'c'], 0, -1)).toEqual(['a', 'b', 'c'])
  })
})
