// Where a message of WeChat leads: the client, at the notice that the message was about.
const { decoded, isId } = require('../../lib/addresses')

Page({
  onLoad(options) {
    const id = decoded(options.id)
    wx.reLaunch({ url: isId(id) ? `/pages/index/index?notice=${id}` : '/pages/index/index' })
  },
})
