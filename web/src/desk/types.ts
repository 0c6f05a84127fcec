/** What the desk's part of the HTTP API and its socket say. */
import type { Crew, DatumName, Instant, LiveOfficer, LonLat, Membership, Named, Person } from '@/shared/types'

export type AreaKind = 'town' | 'community' | 'compound' | 'grid' | 'building'
export interface Area {
  id: string
  parent_id: string | null
  kind: AreaKind
  code: string
  name: Named
  center: LonLat
  bounds: [number, number, number, number]
}

export type DeskOfficer = LiveOfficer

/** One shift: who goes together, and what the desk may do with it now. */
export interface DeskShift {
  id: string
  state: 'on_duty' | 'ended'
  officer: Person & { kind: string | null }
  call_sign: string | null
  crew: Crew | null
  started_at: Instant
  planned_end_at: Instant | null
  closes_at: Instant
  ended_at: Instant | null
  actions: string[]
}

/** One row of the socket's `positions` event, in the order of the contract. */
export type PositionRow = [
  officerId: string,
  lon: number,
  lat: number,
  fixedAtS: number,
  accuracyM: number | null,
  speedMps: number | null,
  headingDeg: number | null,
  batteryPct: number | null,
  areaId: string | null,
  charging: boolean | null,
]

export interface OfficerEvent {
  kind: string
  action: string
  officer_id: string
  shift_id: string
  version: number
}

/** lon, lat, epoch seconds, accuracy in metres. */
export type TrailPoint = [number, number, number, number | null]
export interface Trail {
  officer_id: string
  segments: TrailPoint[][]
}

/** lon, lat, epoch seconds, speed in metres a second. */
export type ReplayPoint = [number, number, number, number | null]
export interface ReplayTrack {
  officer_id: string
  display_name: string
  call_sign: string | null
  segments: ReplayPoint[][]
  fix_count: number
  next: string | null
}
export interface Replay {
  id: string
  from: Instant
  to: Instant
  tracks: ReplayTrack[]
  simplified: boolean
}
export interface ReplayQuestion {
  officer_ids?: string[]
  area_id?: string
  from: Instant
  to: Instant
  reason: string
}

export type TrackerProtocol = 'osmand' | 'owntracks' | 'overland' | 'gpslogger'
export interface Provisioning {
  url: string
  link: string
  /** An SVG element, made by our own server. It is shown as an image, in which nothing runs. */
  qr_svg: string
  id?: string | null
  user?: string | null
  password?: string | null
  token?: string | null
  template?: string | null
  note?: Named | null
}
export interface Device {
  id: string
  name: string
  kind: string
  protocol: string
  datum: DatumName
  state: 'active' | 'revoked'
  officer: Person
  created_at: Instant
  revoked_at: Instant | null
  last_fix_at: Instant | null
  actions: string[]
  provisioning?: Provisioning | null
}

export interface ImportedTrack {
  id: string
  name: string
  officer_id: string | null
  officer: string | null
  point_count: number
  started_at: Instant
  ended_at: Instant
  length_m: number
  created_at: Instant
}
export interface ImportedTrackPoints extends ImportedTrack {
  segments: ReplayPoint[][]
}

export interface QuarantinedFix {
  id: string
  received_at: Instant
  device_id: string | null
  device_name: string | null
  protocol: string
  reason: string
  payload: unknown
}
export interface Counter {
  day: string
  protocol: string
  outcome: string
  count: number
}

export interface UserMembership extends Membership {
  id: string
  granted_at: Instant
}
export interface UserRow {
  id: string
  login: string | null
  phone: string | null
  display_name: string
  state: 'active' | 'disabled'
  locale: string
  totp_enabled: boolean
  created_at: Instant
  memberships: UserMembership[]
}
export interface UserSession {
  id: string
  client: string
  device_name: string | null
  created_at: Instant
  last_used_at: Instant
}
export interface Department {
  id: string
  kind: string
  name: Named
}

export interface JournalEntry {
  id: string
  at: Instant
  actor_id: string | null
  actor: string | null
  subject_kind: string
  subject_id: string
  action: string
  from: string | null
  to: string | null
  reason: string | null
  data: Record<string, unknown> | null
  request_id: string | null
}
export interface DisclosureEntry {
  id: string
  at: Instant
  kind: string
  reason: string
  by: string | null
  actor_id: string | null
  subject_kind: string
  subject_id: string
  subject: string | null
  data: Record<string, unknown> | null
}
