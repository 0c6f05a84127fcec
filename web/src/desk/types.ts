/** What the desk's part of the HTTP API and its socket say. */
import type { Crew, Instant, LiveOfficer, LonLat, Named, Person } from '@/shared/types'

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

/** What the desk may do with the officer's shift comes with it; clients draw buttons from `actions` alone. */
export interface DeskOfficer extends LiveOfficer {
  crew?: Crew | null
  actions?: string[]
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
  url: string | null
  link: string | null
  qr_svg: string | null
  user?: string | null
  password?: string | null
  token?: string | null
  note?: Named | null
}
export interface Device {
  id: string
  name: string
  kind?: string | null
  protocol: string
  platform?: string | null
  state: 'active' | 'revoked'
  officer: Person | null
  created_at: Instant
  last_seen_at?: Instant | null
  expires_at?: Instant | null
  actions?: string[]
  provisioning?: Provisioning | null
}
