// What an installation sets. Nothing else in this folder has to be changed.
module.exports = {
  // The address of the installation, as XUNGENG_PUBLIC_URL has it; a business domain (业务域名) of the mini program.
  baseUrl: 'https://xungeng.example.cn',
  // The client of whoever opens the mini program for the first time: 'resident' or 'officer'.
  client: 'resident',
}
