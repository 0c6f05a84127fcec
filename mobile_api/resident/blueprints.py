"""The resident audience's blueprints."""

from mobile_api.resident import home, sos

BLUEPRINTS = (home.blp, sos.blp)
