/** The API's reference, drawn from the installation's own document; everything it needs is served from here. */
import SwaggerUI from 'swagger-ui-dist/swagger-ui-es-bundle.js'
import 'swagger-ui-dist/swagger-ui.css'
import './api-docs.css'

const dark = matchMedia('(prefers-color-scheme: dark)')
const follow = () => document.documentElement.classList.toggle('dark-mode', dark.matches)
dark.addEventListener('change', follow)
follow()

SwaggerUI({
  dom_id: '#reference',
  url: '/api/v1/openapi.json',
  docExpansion: 'list',
  deepLinking: true,
  filter: true,
  showExtensions: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  // A token that was typed here ends with the tab.
  persistAuthorization: false,
  // The badge would send the document's address to a server abroad.
  validatorUrl: null,
})
