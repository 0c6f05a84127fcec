/** What the HTTP API says, by hand, until the types are generated from the OpenAPI document (`npm run types`). */

export type Locale = 'zh-CN' | 'en'
/** Something people read, in every language of the installation. */
export type Named = Record<Locale, string>
/** RFC 3339 with `Z`. */
export type Instant = string
export type LonLat = [number, number]

export interface Page<T> {
  items: T[]
  next: string | null
}

export type DatumName = 'wgs84' | 'gcj02' | 'bd09'
export type BasemapKind = 'none' | 'pmtiles' | 'style' | 'raster'
export interface Basemap {
  id: string
  kind: BasemapKind
  url: string | null
  name: Named
  datum: DatumName
  approval_number: string | null
  attribution: string | null
}

export interface Town {
  id: string
  code: string
  name: Named
  time_zone: string
  locale: Locale
  /** Null while the installation has no areas yet. */
  center: LonLat | null
  bounds: [number, number, number, number] | null
}

/** Functions of the phone that a browser gives only to a secure page. */
export type GatedFunction = 'geolocation' | 'wake_lock' | 'camera' | 'service_worker' | (string & {})

export interface Installation {
  name: Named
  /** Null while the installation is empty. */
  town: Town | null
  basemaps: Basemap[]
  secure: boolean
  off: GatedFunction[]
  version: string
  otp: 'development' | 'sms' | 'off' | (string & {})
  /** How long the track of a shift is kept, where the server says so. */
  fix_retention_days?: number
}

export type Role =
  | 'resident'
  | 'building_head'
  | 'officer'
  | 'handler'
  | 'dispatcher'
  | 'supervisor'
  | 'admin'
  | 'auditor'
export type Audience = 'officer' | 'desk' | 'resident'

export interface AreaRef {
  id: string
  name: Named
}
export interface Membership {
  role: Role
  area: AreaRef | null
  department: AreaRef | null
  officer_kind: string | null
}
export interface Me {
  id: string
  display_name: string
  login: string | null
  locale: Locale
  roles: Role[]
  memberships: Membership[]
  permissions: string[]
  audiences: Audience[]
  town: Pick<Town, 'id' | 'code' | 'name' | 'time_zone' | 'locale'>
  totp_enabled: boolean
}

export interface Tokens {
  access_token: string
  expires_in_s: number
  refresh_token: string
  session_id: string
  user: Me
}

export interface TotpSecret {
  secret: string | null
  uri: string | null
  qr_svg: string | null
}

export interface SessionRow {
  id: string
  client: string | null
  device_name: string | null
  address: string | null
  created_at: Instant
  last_used_at: Instant
  current: boolean
}

export type Travel = 'foot' | 'e_bike' | 'car'
export interface Person {
  id: string
  display_name: string
}
export interface Crew {
  id: string
  call_sign: string
  travel: Travel
  leader_id: string
  members: Person[]
}
export interface Shift {
  id: string
  state: 'on_duty' | 'ended'
  officer: Person & { kind: string | null }
  area: AreaRef
  crew: Crew | null
  started_at: Instant
  planned_end_at: Instant | null
  closes_at: Instant
  ended_at: Instant | null
  ended_by: 'self' | 'crew' | 'desk' | 'system' | null
  actions: string[]
}
export interface ShiftStart {
  id: string
  planned_end_at?: Instant
  area_id?: string
  device: { id: string; name: string; platform: string }
  crew?: { call_sign: string; travel: Travel; member_ids: string[] }
  device_at: Instant
}

/** A fix as the officer's phone measured it; WGS-84, which is what a browser gives. */
export interface FixIn {
  fixed_at: Instant
  lon: number
  lat: number
  accuracy_m?: number
  altitude_m?: number
  speed_mps?: number
  heading_deg?: number
  battery_pct?: number
  charging?: boolean
  mock?: boolean
  seq?: number
}
export interface FixBatch {
  device_id: string
  sent_at: Instant
  datum?: DatumName
  fixes: FixIn[]
}
export interface FixReceipt {
  stored: number
  duplicates: number
  off_shift: number
  quarantined: number
  reasons: Record<string, number>
}

export type PointFlag = 'mock' | 'impossible_speed' | 'inaccurate' | 'late'
export interface TrackPoint {
  fixed_at: Instant
  lon: number
  lat: number
  accuracy_m: number | null
  speed_mps: number | null
  heading_deg: number | null
  altitude_m: number | null
  battery_pct: number | null
  flags: PointFlag[]
  device_id: string
}

export interface Disclosure {
  at: Instant
  kind: string
  reason: string
  /** Display name of who looked. */
  by: string | null
  data: Record<string, unknown> | null
}

export type OfficerStatus = 'moving' | 'still' | 'silent' | 'unlocated'
export interface LivePosition {
  lon: number
  lat: number
  fixed_at: Instant
  received_at: Instant
  accuracy_m: number | null
  speed_mps: number | null
  heading_deg: number | null
  battery_pct: number | null
  charging: boolean | null
  area_id: string | null
}
export interface LiveOfficer {
  id: string
  display_name: string
  kind: string | null
  call_sign: string | null
  area: AreaRef
  shift_id: string
  shift_started_at: Instant
  status: OfficerStatus
  position: LivePosition | null
  silent_after_s: number
}
