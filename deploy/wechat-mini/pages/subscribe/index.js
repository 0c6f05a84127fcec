// WeChat's question, which it puts after a tap in a page of the mini program's own and in no other. The answer goes
// back to the client, which tells the server.
const { answered, asked, decoded } = require('../../lib/addresses')
const login = require('../../lib/login')
const wordsFor = require('../../lib/words')

// Refusals of WeChat's: the person has switched all messages off; WeChat itself has no network.
const SWITCHED_OFF = 20004
const NO_NETWORK = [10002, 10003]

Page({
  data: { words: null, asking: false, busy: false, off: false, trouble: '' },

  onLoad(options) {
    this.question = asked(options)
    const words = wordsFor(decoded(options.lang))
    wx.setNavigationBarTitle({ title: words.title })
    this.setData({ words, asking: this.question !== null })
  },

  // Has to ask at once: WeChat refuses whoever does not come straight from a tap.
  allow() {
    if (this.data.busy) return
    this.setData({ busy: true, off: false, trouble: '' })
    wx.requestSubscribeMessage({
      tmplIds: this.question.templates,
      success: (result) => this.hand(answered(this.question.templates, result)),
      fail: (failure) => this.explain(failure),
    })
  },

  refuse() {
    if (this.data.busy) return
    this.setData({ busy: true })
    return this.hand({ accepted: [], refused: this.question.templates })
  },

  async hand(answer) {
    getApp().globalData.answer = { ...this.question, ...answer, code: await login() }
    this.leave()
  },

  // Some phones say errCode and some errorCode.
  explain({ errCode, errorCode }) {
    const code = errCode || errorCode || 0
    const { words } = this.data
    const trouble =
      code === SWITCHED_OFF ? words.off
      : NO_NETWORK.includes(code) ? words.network
      : words.failed.replace('{code}', code)
    this.setData({ busy: false, off: code === SWITCHED_OFF, trouble })
  },

  openSettings() {
    wx.openSetting({ withSubscriptions: true })
  },

  leave() {
    wx.navigateBack()
  },
})
