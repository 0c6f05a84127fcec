/** Names for what the desk's part of the HTTP API says; what its socket says is no part of the document and stands here. */
import type { LiveOfficer, Schemas } from '@/shared/types'

export type Area = Schemas['DeskArea']
export type AreaKind = Area['kind']
export type DeskOfficer = LiveOfficer
export type DeskShift = Schemas['DeskShift']

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

/** The document says that the points are lists of numbers; which number is what is said in words there, and here. */
type Pointed<T, Point> = Omit<T, 'segments'> & { segments: Point[][] }

/** lon, lat, epoch seconds, accuracy in metres. */
export type TrailPoint = [number, number, number, number | null]
export type Trail = Pointed<Schemas['DeskTrail'], TrailPoint>

/** lon, lat, epoch seconds, speed in metres a second. */
export type ReplayPoint = [number, number, number, number | null]
export type ReplayTrack = Pointed<Schemas['DeskReplayTrack'], ReplayPoint>
export type Replay = Omit<Schemas['DeskReplay'], 'tracks'> & { tracks: ReplayTrack[] }
export type ReplayQuestion = Schemas['DeskReplayRequest']

export type TrackerProtocol = Schemas['DeskNewDevice']['protocol']
export type Provisioning = Schemas['DeskProvisioning']
export type Device = Schemas['DeskDevice']
/** The answer to a new device and to a renewal; what the phone is set up with is shown once. */
export type ProvisionedDevice = Schemas['DeskProvisionedDevice']

export type ImportedTrack = Schemas['DeskImportedTrack']
export type ImportedTrackPoints = Pointed<Schemas['DeskImportedTrackPoints'], ReplayPoint>

export type QuarantinedFix = Schemas['DeskQuarantinedFix']
export type Counter = Schemas['DeskCounter']

export type UserRow = Schemas['DeskUser']
export type UserMembership = Schemas['DeskMembership']
export type UserSession = Schemas['DeskSession']
export type Department = Schemas['DeskDepartment']

export type JournalEntry = Schemas['DeskJournalEntry']
export type DisclosureEntry = Schemas['DeskDisclosure']

export type DeskTask = Schemas['DeskTask']
export type DeskPhoto = Schemas['DeskPhoto']
export type CustodyEntry = Schemas['DeskCustody']
export type Playing = Schemas['DeskPlaying']
export type EvidenceExport = Schemas['DeskEvidenceExport']
export type TaskState = DeskTask['state']
export type Priority = DeskTask['priority']
export type Assignment = Schemas['DeskAssignment']
export type TimelineEntry = Schemas['DeskTimelineEntry']
export type NearestOfficer = Schemas['DeskNearestOfficer']
export type Offer = Schemas['DeskOffer']
export type TaskNew = Schemas['DeskTaskNew']
export type TaskKind = Schemas['DeskTaskKind']
export type TaskKindBody = Schemas['DeskTaskKindBody']
export type DeskReport = Schemas['DeskReport']
export type Brief = Schemas['DeskBrief']
export type DeskCall = Schemas['DeskCall']
export type CallKind = DeskCall['kind']
export type CallAnswer = Schemas['DeskCallAnswer']
export type DeskAlarm = Schemas['DeskAlarm']
export type AlarmState = DeskAlarm['state']

export type DeskPatrol = Schemas['DeskPatrol']
export type CheckpointImport = Schemas['DeskCheckpointImport']
export type RouteProposal = Schemas['DeskRouteProposal']
export type OfficerPhone = Schemas['DeskPhone']
export type PhoneCode = Schemas['DeskPhoneCode']
export type DeskPatrolPoint = Schemas['DeskPatrolPoint']
export type DeskCheckpoint = Schemas['DeskCheckpoint']
export type DeskCheckpointBody = Schemas['DeskCheckpointBody']
export type DeskRoute = Schemas['DeskRoute']
export type DeskRouteDrawn = Schemas['DeskRouteDrawn']
export type DeskRouteBody = Schemas['DeskRouteBody']
export type DeskPlan = Schemas['DeskPlan']
export type DeskPlanBody = Schemas['DeskPlanBody']
export type DeskPost = Schemas['DeskPost']
export type DeskPostBody = Schemas['DeskPostBody']
export type DeskPostDuty = Schemas['DeskPostDuty']
export type DeskLevelSwitch = Schemas['DeskLevelSwitch']
export type DutyLevel = DeskLevelSwitch['level']
export type DeskVisit = Schemas['DeskVisit']
export type DeskCoverage = Schemas['DeskCoverage']
export type DeskStreet = Schemas['DeskStreet']

export type DeskPlannedShift = Schemas['DeskPlannedShift']
export type DeskPlannedShiftBody = Schemas['DeskPlannedShiftBody']
export type DeskRosterImport = Schemas['DeskRosterImport']
export type DeskRosterRequest = Schemas['DeskRosterRequest']
export type DeskAttendance = Schemas['DeskAttendance']
export type DeskHandOver = Schemas['DeskHandOver']

/** The socket's `changed` event: a thing that this desk may see has; it is to be fetched. */
export interface ChangedEvent {
  kind: string
  id: string
  version: number
  action: string
}

export type DeskAppraisal = Schemas['DeskAppraisal']
export type DeskAppraisalWhole = Schemas['DeskAppraisalWhole']
export type DeskAppraisalInput = Schemas['DeskAppraisalInput']
export type DeskAppraisalMonth = Schemas['DeskAppraisalMonth']
export type DeskAppraisalGroup = Schemas['DeskAppraisalGroup']
export type DeskContest = Schemas['DeskAppraisalContest']
