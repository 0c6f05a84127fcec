/** Screens, each with the permission that it needs; the navigation is drawn from the same table. */
import { createRouter, createWebHistory, type RouteRecordRaw } from 'vue-router'
import { acceptNotice } from '@/shared/notices/arrival'
import { may, notices, session } from './client'

export interface Screen {
  name: string
  path: string
  /** Any of these opens it; none: every desk account. */
  needs: string[]
  /** One comes to it from another screen, and not by the navigation. */
  aside?: boolean
}

export const SCREENS: Screen[] = [
  { name: 'live', path: '/live', needs: ['see:officer'] },
  { name: 'brief', path: '/tasks/:id/brief', needs: ['refer:task'], aside: true },
  { name: 'rounds', path: '/rounds', needs: ['see:patrol'] },
  { name: 'appraisals', path: '/appraisals', needs: ['see:appraisal'] },
  { name: 'roster', path: '/roster', needs: ['see:roster'] },
  { name: 'calls', path: '/calls', needs: ['see:call'] },
  { name: 'exports', path: '/exports', needs: ['see:evidence_export'] },
  { name: 'replay', path: '/replay', needs: ['see:track'] },
  { name: 'tracks', path: '/tracks', needs: ['import:track'] },
  { name: 'devices', path: '/devices', needs: ['see:device'] },
  { name: 'data', path: '/data', needs: ['see:quarantine', 'see:counter'] },
  { name: 'people', path: '/people', needs: ['see:user'] },
  { name: 'kinds', path: '/task-kinds', needs: ['manage:task_kind'] },
  { name: 'basemaps', path: '/basemaps', needs: ['manage:basemap'] },
  { name: 'journal', path: '/journal', needs: ['see:journal', 'see:disclosure'] },
  { name: 'notices', path: '/notices', needs: [] },
  { name: 'account', path: '/account', needs: [] },
]

export function opened(screen: Screen): boolean {
  return screen.needs.length === 0 || screen.needs.some(may)
}

/** Where a person lands: the first screen that his permissions open. */
export function home(): Screen {
  return SCREENS.find((screen) => opened(screen) && !screen.aside)!
}

const VIEWS: Record<string, RouteRecordRaw['component']> = {
  live: () => import('./live/LiveView.vue'),
  brief: () => import('./brief/BriefView.vue'),
  rounds: () => import('./rounds/RoundsView.vue'),
  appraisals: () => import('./appraisals/AppraisalsView.vue'),
  roster: () => import('./roster/RosterView.vue'),
  calls: () => import('./calls/CallsView.vue'),
  exports: () => import('./exports/ExportsView.vue'),
  replay: () => import('./replay/ReplayView.vue'),
  tracks: () => import('./tracks/TracksView.vue'),
  devices: () => import('./devices/DevicesView.vue'),
  data: () => import('./data/DataView.vue'),
  people: () => import('./people/PeopleView.vue'),
  kinds: () => import('./kinds/KindsView.vue'),
  basemaps: () => import('./basemap/BasemapView.vue'),
  journal: () => import('./journal/JournalView.vue'),
  notices: () => import('./notices/NoticesView.vue'),
  account: () => import('./account/AccountView.vue'),
}

export const router = createRouter({
  history: createWebHistory('/desk/'),
  routes: [
    ...SCREENS.map((screen) => ({ name: screen.name, path: screen.path, component: VIEWS[screen.name]!, props: true }) as RouteRecordRaw),
    { path: '/:anything(.*)*', name: 'start', component: { render: () => null } },
  ],
})

router.beforeEach((to) => {
  // Before anybody has signed in, the address waits: whoever comes may have come for it.
  if (!session.signedIn.value) return true
  const arrived = acceptNotice(to, notices)
  if (arrived !== true) return arrived
  const screen = SCREENS.find((one) => one.name === to.name)
  if (screen && opened(screen)) return true
  return { name: home().name, replace: true }
})
