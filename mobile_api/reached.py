"""How phones reach this installation."""

from flask import current_app, request


def base_url() -> str:
    """Return how phones reach the installation: the configured address, or else the one this request came by."""
    configured: str | None = current_app.extensions["xungeng.config"].public_url
    return configured or request.host_url.rstrip("/")
