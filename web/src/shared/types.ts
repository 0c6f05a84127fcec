/** Names for what the HTTP API says, as `api-types.ts` has it, which is made from the OpenAPI document (`npm run types`). */
import type { components } from './api-types'

export type Schemas = components['schemas']

export type Locale = Schemas['AuthMe']['locale']
/** Something people read, in every language of the installation. */
export type Named = Schemas['PublicTown']['name']
/** RFC 3339 with `Z`. */
export type Instant = string
export type LonLat = [number, number]

/** The shape of every list: items, and where to go on. */
export interface Page<T> {
  items: T[]
  next: string | null
}

export type Installation = Schemas['PublicInstallation']
export type Town = Schemas['PublicTown']
export type Basemap = Schemas['PublicBasemap']
export type BasemapKind = Basemap['kind']
export type DatumName = Basemap['datum']

export type Me = Schemas['AuthMe']
export type Membership = Schemas['AuthMembership']
export type AreaRef = Schemas['AuthArea']
export type Role = Membership['role']
export type Audience = Me['audiences'][number]
export type Tokens = Schemas['AuthTokens']
export type SessionRow = Schemas['AuthSession']
export type TotpSecret = Schemas['AuthTotpSecret']

export type Shift = Schemas['OfficerShift']
export type Crew = Schemas['OfficerCrew']
export type Travel = Crew['travel']
export type Person = Schemas['OfficerCrewMember']
export type ShiftStart = Schemas['OfficerShiftStart']
export type Invitation = Schemas['OfficerInvitation']
export type Join = Schemas['OfficerJoin']
export type TrackPoint = Schemas['OfficerPoint']
export type Disclosure = Schemas['OfficerDisclosure']
export type FixIn = Schemas['OfficerFix']
export type FixBatch = Schemas['OfficerFixBatch']
export type FixReceipt = Schemas['OfficerReceipt']

export type OfficerTask = Schemas['OfficerTask']
export type OfficerCall = Schemas['OfficerCall']
export type TaskQuestion = Schemas['OfficerQuestion']
export type CheckpointQuestion = Schemas['OfficerCheckpointQuestion']
export type OfficerTaskKind = Schemas['OfficerTaskKind']
export type OfficerReport = Schemas['OfficerReport']
export type OfficerEvidence = Schemas['OfficerEvidence']
export type OfficerPatrol = Schemas['OfficerPatrol']
export type PhoneSetup = Schemas['AuthPhone']
export type OfficerPostDuty = Schemas['OfficerPostDuty']
export type OfficerPatrolPoint = Schemas['OfficerPatrolPoint']
export type OfficerCheckpoint = Schemas['OfficerCheckpoint']
export type OfficerRoute = Schemas['OfficerRoute']
export type OfficerVisit = Schemas['OfficerVisit']
export type OfficerAppraisal = Schemas['OfficerAppraisal']
export type OfficerAppraisalInput = Schemas['OfficerAppraisalInput']
export type OfficerPlannedShift = Schemas['OfficerPlannedShift']
export type OfficerOwnPlannedShift = Schemas['OfficerOwnPlannedShift']
export type OfficerRosterRequest = Schemas['OfficerRosterRequest']
export type OfficerHandOver = Schemas['OfficerHandOver']
export type OfficerSos = Schemas['OfficerSos']
export type ResidentSos = Schemas['ResidentSos']

export type LiveOfficer = Schemas['DeskLiveOfficer']
export type LivePosition = Schemas['DeskPosition']
export type OfficerStatus = LiveOfficer['status']
