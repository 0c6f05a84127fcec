/** Where a notice leads: the page of a client that shows what it is about, as an address within that client. */
export type Client = 'officer' | 'resident' | 'desk'

export interface About {
  kind: string
  subject_kind: string
  subject_id: string
}

/** The list of notices: where everything leads that has no page of its own. */
export const LIST = '/notices'

export function pageOf(client: Client, { kind, subject_kind, subject_id }: About): string {
  const id = encodeURIComponent(subject_id)
  if (client === 'desk') {
    if (subject_kind === 'task' || subject_kind === 'alarm') return `/live?${subject_kind}=${id}`
    if (subject_kind === 'patrol') return `/rounds?patrol=${id}`
    if (subject_kind === 'appraisal') return `/appraisals?id=${id}`
    if (subject_kind === 'roster_request') return '/roster?tab=requests'
    if (subject_kind === 'post_duty') return '/rounds?tab=posts'
    if (subject_kind === 'duty_level') return '/rounds'
    return LIST
  }
  // One's own call for help. That of somebody else comes to an officer as a task.
  if (kind === 'sos.acknowledged' || kind === 'sos.answered') return '/sos'
  if (client === 'officer' && subject_kind === 'task') return `/tasks/${id}`
  if (client === 'officer' && subject_kind === 'patrol') return `/rounds/${id}`
  if (client === 'officer' && subject_kind === 'appraisal') return `/appraisals/${id}`
  if (client === 'officer' && (subject_kind === 'planned_shift' || subject_kind === 'roster_request')) return '/roster'
  if (client === 'officer' && subject_kind === 'hand_over') return '/hand-overs'
  if (client === 'officer' && subject_kind === 'post_duty') return `/posts/${id}`
  if (client === 'officer' && subject_kind === 'duty_level') return '/posts'
  if (client === 'officer' && kind === 'officer.silent') return '/'
  return LIST
}
