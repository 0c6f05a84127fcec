import { createRouter, createWebHistory } from 'vue-router'
import { acceptNotice } from '@/shared/notices/arrival'
import AppraisalsView from './views/AppraisalsView.vue'
import AppraisalView from './views/AppraisalView.vue'
import { notices, session, wechat } from './client'
import DisclosuresView from './views/DisclosuresView.vue'
import DutyView from './views/DutyView.vue'
import HandOversView from './views/HandOversView.vue'
import MeView from './views/MeView.vue'
import NoticeView from './views/NoticeView.vue'
import PostsView from './views/PostsView.vue'
import ReportsView from './views/ReportsView.vue'
import ReportView from './views/ReportView.vue'
import RosterView from './views/RosterView.vue'
import RoundsView from './views/RoundsView.vue'
import RoundView from './views/RoundView.vue'
import ScanView from './views/ScanView.vue'
import SecurityView from './views/SecurityView.vue'
import NoticeSettingsView from './views/NoticeSettingsView.vue'
import NoticesView from './views/NoticesView.vue'
import SessionsView from './views/SessionsView.vue'
import SetUpView from './views/SetUpView.vue'
import ShiftsView from './views/ShiftsView.vue'
import SignInView from './views/SignInView.vue'
import SosView from './views/SosView.vue'
import TasksView from './views/TasksView.vue'
import TaskView from './views/TaskView.vue'
import UploadsView from './views/UploadsView.vue'

// Every screen is here from the start: whoever loses the network must still get to each of them.
export const router = createRouter({
  history: createWebHistory('/officer/'),
  routes: [
    { path: '/sign-in', name: 'sign-in', component: SignInView, meta: { open: true } },
    { path: '/set-up', name: 'set-up', component: SetUpView, meta: { open: true } },
    { path: '/', name: 'duty', component: DutyView },
    { path: '/tasks', name: 'tasks', component: TasksView },
    { path: '/tasks/:id', name: 'task', component: TaskView, props: true },
    { path: '/rounds', name: 'rounds', component: RoundsView },
    { path: '/rounds/:id', name: 'round', component: RoundView, props: true },
    { path: '/posts/:id?', name: 'posts', component: PostsView, props: true },
    { path: '/scan/:token?', name: 'scan', component: ScanView, props: true },
    { path: '/report', name: 'report', component: ReportView },
    { path: '/reports', name: 'reports', component: ReportsView },
    { path: '/sos', name: 'sos', component: SosView },
    { path: '/uploads', name: 'uploads', component: UploadsView },
    { path: '/me', name: 'me', component: MeView },
    { path: '/notice', name: 'notice', component: NoticeView },
    { path: '/security', name: 'security', component: SecurityView },
    { path: '/notices', name: 'notices', component: NoticesView },
    { path: '/notice-settings', name: 'notice-settings', component: NoticeSettingsView },
    { path: '/sessions', name: 'sessions', component: SessionsView },
    { path: '/disclosures', name: 'disclosures', component: DisclosuresView },
    { path: '/appraisals', name: 'appraisals', component: AppraisalsView },
    { path: '/appraisals/:id', name: 'appraisal', component: AppraisalView, props: true },
    { path: '/shifts', name: 'shifts', component: ShiftsView },
    { path: '/roster', name: 'roster', component: RosterView },
    { path: '/hand-overs', name: 'hand-overs', component: HandOversView },
    { path: '/:rest(.*)*', redirect: { name: 'duty' } },
  ],
  scrollBehavior: (_to, _from, saved) => saved ?? { top: 0 },
})

router.beforeEach((to) => {
  const heard = wechat.accept(to)
  if (heard !== true) return heard
  // A label or a tag that the phone's own reader has read leads here, with its token behind the #, where no server sees it.
  if (to.hash.startsWith('#/scan/')) return { path: to.hash.slice(1).split('?')[0], query: Object.fromEntries(new URLSearchParams(to.hash.split('?')[1] ?? '')), hash: '', replace: true }
  if (!to.meta.open && !session.signedIn.value) return { name: 'sign-in', query: to.name === 'duty' ? {} : { to: to.fullPath } }
  if (to.name === 'sign-in' && session.signedIn.value) return { name: 'duty' }
  return acceptNotice(to, notices)
})
