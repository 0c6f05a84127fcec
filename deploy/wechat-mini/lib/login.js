// WeChat's one-time code, by which the server learns whom it may notify. Without a network there is none.
const PATIENCE_MS = 5000

module.exports = function login() {
  return new Promise((resolve) => {
    wx.login({
      timeout: PATIENCE_MS,
      success: ({ code }) => resolve(code || ''),
      fail: () => resolve(''),
    })
  })
}
