/** Why nothing could be brought, from a delivery's literal code to one of a few sentences; the code stands beside it. */
export type Reason = 'gone' | 'nobody' | 'refused' | 'busy' | 'failed' | 'unset' | 'unwilling' | 'other'

const BY_END: readonly [RegExp, Reason][] = [
  [/(^no_credit|_not_subscribed)$/, 'unwilling'],
  [/(^no_address|_no_such_user)$/, 'nobody'],
  [/(_gone|_unregistered|_bad_keys|_unknown_service|_no_such_phone)$/, 'gone'],
  [/(^not_set_up|_not_configured)$/, 'unset'],
  [/_busy$/, 'busy'],
  [/(_failed|_unanswered|_unavailable|_no_token)$/, 'failed'],
  [/(_refused|_rejected|^not_allowed)$/, 'refused'],
]

export function reasonOf(code: string | null): Reason {
  return (code && BY_END.find(([end]) => end.test(code))?.[1]) || 'other'
}
