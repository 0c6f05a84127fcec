"""The resident audience's blueprints."""

from mobile_api.resident import home

BLUEPRINTS = (home.blp,)
