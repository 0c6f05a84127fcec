"""The public audience's blueprints."""

from mobile_api.public import installation

BLUEPRINTS = (installation.blp,)
