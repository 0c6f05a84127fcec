// The client itself. `?client=officer` opens that of officers, now and from then on.
const config = require('../../config')
const { back, clientOf, start } = require('../../lib/addresses')
const login = require('../../lib/login')

const KEPT_AT = 'client'

Page({
  data: { src: '' },

  async onLoad(options) {
    const client = clientOf(options, wx.getStorageSync(KEPT_AT), config)
    wx.setStorageSync(KEPT_AT, client)
    this.setData({ src: start(config, client, { code: await login(), notice: options.notice }) })
  },

  // Back from the question: the client goes on where it was. That only the fragment differs lets it stay as it is.
  onShow() {
    const app = getApp()
    const src = app.globalData.answer && back(config, app.globalData.answer)
    app.globalData.answer = null
    if (src) this.setData({ src })
  },
})
