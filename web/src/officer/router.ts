import { createRouter, createWebHistory } from 'vue-router'
import { session } from './client'

export const router = createRouter({
  history: createWebHistory('/officer/'),
  routes: [
    { path: '/sign-in', name: 'sign-in', component: () => import('./views/SignInView.vue'), meta: { open: true } },
    { path: '/', name: 'duty', component: () => import('./views/DutyView.vue'), meta: { tabs: true } },
    { path: '/uploads', name: 'uploads', component: () => import('./views/UploadsView.vue'), meta: { tabs: true } },
    { path: '/me', name: 'me', component: () => import('./views/MeView.vue'), meta: { tabs: true } },
    { path: '/notice', name: 'notice', component: () => import('./views/NoticeView.vue') },
    { path: '/sessions', name: 'sessions', component: () => import('./views/SessionsView.vue') },
    { path: '/disclosures', name: 'disclosures', component: () => import('./views/DisclosuresView.vue') },
    { path: '/shifts', name: 'shifts', component: () => import('./views/ShiftsView.vue') },
    { path: '/:rest(.*)*', redirect: { name: 'duty' } },
  ],
  scrollBehavior: (_to, _from, saved) => saved ?? { top: 0 },
})

router.beforeEach((to) => {
  if (!to.meta.open && !session.signedIn.value) return { name: 'sign-in', query: to.name === 'duty' ? {} : { to: to.fullPath } }
  if (to.name === 'sign-in' && session.signedIn.value) return { name: 'duty' }
  return true
})
