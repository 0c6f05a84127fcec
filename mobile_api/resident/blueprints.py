"""The resident audience's blueprints."""

from mobile_api.resident import home, notices, sos

BLUEPRINTS = (home.blp, sos.blp, notices.blp)
