/** The reference page of the API, served from the installation itself: nothing is fetched from elsewhere. */
import SwaggerUI from 'swagger-ui-dist/swagger-ui-es-bundle.js'
import 'swagger-ui-dist/swagger-ui.css'

SwaggerUI({
  url: '/api/v1/openapi.json',
  domNode: document.getElementById('reference'),
  deepLinking: true,
  docExpansion: 'none',
  defaultModelsExpandDepth: 0,
  filter: true,
  // No badge: it would send the document's address to a validator elsewhere.
  validatorUrl: null,
})
