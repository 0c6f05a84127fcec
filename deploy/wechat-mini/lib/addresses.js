// The addresses by which the client is opened and told something.
//
// What the mini program says stands behind the #, which no server sees and no log keeps. Nothing that comes from outside
// (a link into the mini program, the address that the client was at) gets there: a code in a fragment is believed by
// the client, and somebody else's would bring its owner another person's notices.

const CLIENTS = ['resident', 'officer']
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
const TEMPLATE = /^[\w-]{1,100}$/
const PAGE = /^\/(resident|officer)\/[^#\\\s]*$/
// WeChat asks for so many templates at once.
const MOST_TEMPLATES = 3

// WeChat gives the parameters of a page as they stand in its address.
function decoded(text) {
  try {
    return decodeURIComponent(text || '')
  } catch (_) {
    return ''
  }
}

function isId(text) {
  return typeof text === 'string' && ID.test(text)
}

// The client that is meant: the one that the link names, else the one of last time, else the installation's first.
function clientOf(options, remembered, config) {
  const found = [decoded(options.client), remembered, config.client].filter((one) => CLIENTS.includes(one))
  return found[0] || CLIENTS[0]
}

function fragment(said) {
  const parts = Object.keys(said)
    .filter((name) => said[name])
    .map((name) => `${name}=${encodeURIComponent(said[name])}`)
  return parts.length ? `#/wechat?${parts.join('&')}` : ''
}

// Where the client begins, with WeChat's one-time code if there is one, and with the notice that a message was about.
function start(config, client, { code, notice } = {}) {
  const query = isId(notice) ? `?notice=${notice}` : ''
  return `${config.baseUrl.replace(/\/+$/, '')}/${client}/${query}${fragment({ code })}`
}

// The page that asked, told what the person has answered. `null` where the page is none of the clients'.
function back(config, { from, nonce, accepted, refused, code }) {
  if (!PAGE.test(from) || from.split(/[/?]/).includes('..')) return null
  const said = { nonce, accepted: accepted.join(','), refused: refused.join(','), code }
  const page = from.replace(/[^\x21-\x7e]+/g, encodeURIComponent)
  return config.baseUrl.replace(/\/+$/, '') + page + fragment(said)
}

// What the client asks for; `null` where it is not a question that can be put to a person.
function asked(options) {
  const templates = decoded(options.templates).split(',')
  const nonce = decoded(options.nonce)
  if (templates.length > MOST_TEMPLATES || !templates.every((one) => TEMPLATE.test(one)) || !isId(nonce)) return null
  return { templates, nonce, from: decoded(options.from) }
}

// What WeChat has been answered. Only 'accept' is a yes; 'filter' is a template that was not asked about at all.
function answered(templates, result) {
  return {
    accepted: templates.filter((one) => result[one] === 'accept'),
    refused: templates.filter((one) => result[one] === 'reject' || result[one] === 'ban'),
  }
}

module.exports = { clientOf, start, back, asked, answered, isId, decoded }
