"""The public audience's blueprints."""

from mobile_api.public import evidence, installation

BLUEPRINTS = (installation.blp, evidence.blp)
