import { createRouter, createWebHistory } from 'vue-router'
import { acceptNotice } from '@/shared/notices/arrival'
import { notices, session, wechat } from './client'
import HomeView from './views/HomeView.vue'
import MeView from './views/MeView.vue'
import NoticeSettingsView from './views/NoticeSettingsView.vue'
import NoticesView from './views/NoticesView.vue'
import SessionsView from './views/SessionsView.vue'
import SignInView from './views/SignInView.vue'
import SosView from './views/SosView.vue'

export const router = createRouter({
  history: createWebHistory('/resident/'),
  routes: [
    { path: '/sign-in', name: 'sign-in', component: SignInView, meta: { open: true } },
    { path: '/', name: 'home', component: HomeView },
    { path: '/sos', name: 'sos', component: SosView },
    { path: '/me', name: 'me', component: MeView },
    { path: '/notices', name: 'notices', component: NoticesView },
    { path: '/notice-settings', name: 'notice-settings', component: NoticeSettingsView },
    { path: '/sessions', name: 'sessions', component: SessionsView },
    { path: '/:rest(.*)*', redirect: { name: 'home' } },
  ],
  scrollBehavior: (_to, _from, saved) => saved ?? { top: 0 },
})

router.beforeEach((to) => {
  const heard = wechat.accept(to)
  if (heard !== true) return heard
  if (!to.meta.open && !session.signedIn.value) return { name: 'sign-in' }
  if (to.name === 'sign-in' && session.signedIn.value) return { name: 'home' }
  return acceptNotice(to, notices)
})
