"""The resident audience's blueprints."""

from mobile_api.resident import home, notices

BLUEPRINTS = (home.blp, notices.blp)
