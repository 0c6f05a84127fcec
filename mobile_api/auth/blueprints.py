"""The auth audience's blueprints."""

from mobile_api.auth import account, phones, sign_in

BLUEPRINTS = (sign_in.blp, account.blp, phones.blp)
