const words = {
  'zh-CN': {
    title: '微信通知',
    lead: '要在微信里告诉您吗？',
    why: '有人处理、有结果时，您会在微信“服务通知”里收到一条消息。每允许一次，可收到一条。',
    allow: '允许微信通知',
    refuse: '不用了',
    off: '您在微信里关闭了本小程序的订阅消息。请打开设置，开启“接收通知”，再回到这里。',
    settings: '打开设置',
    network: '微信没有回应，请检查网络后再试一次。',
    failed: '微信没有询问您（{code}）。请稍后再试。',
    nothing: '这里没有需要您允许的通知。',
    back: '返回',
  },
  en: {
    title: 'WeChat notices',
    lead: 'Shall WeChat tell you?',
    why: 'When somebody deals with it, or there is an answer, you get one message under Service Notifications. Each time you allow it lets one message come.',
    allow: 'Allow WeChat notices',
    refuse: 'No, thanks',
    off: 'Messages of this mini program are switched off in WeChat. Open the settings, switch them on, and come back here.',
    settings: 'Open the settings',
    network: 'WeChat did not answer. Please check the network and try again.',
    failed: 'WeChat did not ask you ({code}). Please try again later.',
    nothing: 'There is nothing to allow here.',
    back: 'Back',
  },
}

module.exports = function wordsFor(language) {
  return words[String(language).toLowerCase().startsWith('en') ? 'en' : 'zh-CN']
}
