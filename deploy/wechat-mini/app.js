// `answer` is what the page pages/subscribe has heard, until the page with the client takes it.
App({ globalData: { answer: null } })
