"""The auth audience's blueprints."""

from mobile_api.auth import account, sign_in

BLUEPRINTS = (sign_in.blp, account.blp)
