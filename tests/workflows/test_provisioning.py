"""A link, and the link as a picture, sets an app up with nothing left to type."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from backend.core.vocabulary import Protocol
from workflows.devices import Credential
from workflows.provisioning import GPSLOGGER_TEMPLATE, Provisioning, gpslogger_profile, provision, qr_svg

SECRET = "q7Jt-4y_0oXvX1r2s3t4u5v6w7x8y9z0ABCDEFGHIJK"
BASES = ["https://xungeng.example.cn", "http://192.168.1.20:8000", "https://town.example.cn:8443/patrol/"]


def made(protocol: Protocol, base: str = BASES[0]) -> Provisioning:
    username = "xg-0123456789ab" if protocol is Protocol.OWNTRACKS else None
    return provision(protocol, base, Credential(SECRET, username), "备用 Phone")


def parameters(link: str) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(urlsplit(link).query, strict_parsing=True).items()}


@pytest.mark.parametrize("base", BASES)
def test_traccar_client_is_given_address_and_id(base: str) -> None:
    found = made(Protocol.OSMAND, base)
    assert found.link.startswith("org.traccar.client://")
    assert urlsplit(found.link).netloc != "action", "that host starts and stops tracking instead"
    sent = parameters(found.link)
    assert sent["url"] == found.url == base.rstrip("/") + "/gateway/osmand"
    assert sent["id"] == found.id == SECRET
    assert (sent["accuracy"], sent["buffer"], sent["stop_detection"]) == ("high", "true", "false")
    assert int(sent["heartbeat"]) >= 60, "the app takes no smaller one"
    assert found.template is not None
    assert found.template.startswith(f"{found.url}/{SECRET}?lat={{0}}&lon={{1}}&timestamp={{2}}")


@pytest.mark.parametrize("base", BASES)
def test_owntracks_is_given_a_whole_configuration(base: str) -> None:
    found = made(Protocol.OWNTRACKS, base)
    prefix = "owntracks:///config?inline="
    assert found.link.startswith(prefix)
    encoded = found.link.removeprefix(prefix)
    assert not re.search(r"[+/=&]", encoded), "a plus would be read as a blank"
    configuration = json.loads(base64.b64decode(unquote(encoded), validate=True))
    assert configuration["_type"] == "configuration"
    assert configuration["mode"] == 3
    assert configuration["url"] == found.url == base.rstrip("/") + "/gateway/owntracks"
    assert (configuration["username"], configuration["password"]) == (found.user, found.password)
    assert found.password == SECRET
    assert configuration["auth"] is True
    assert configuration["encryptionKey"] == ""
    assert configuration["tid"] == "Ph"


@pytest.mark.parametrize("base", BASES)
def test_overland_is_given_address_and_token(base: str) -> None:
    found = made(Protocol.OVERLAND, base)
    assert found.link.startswith("overland://setup?")
    sent = parameters(found.link)
    assert sent["url"] == found.url == base.rstrip("/") + "/gateway/overland"
    assert sent["token"] == found.token == SECRET
    assert "unique_id" not in sent, "the phone's own identifier is nobody's business"


@pytest.mark.parametrize("base", BASES)
def test_gpslogger_is_given_a_profile_to_download(base: str) -> None:
    found = made(Protocol.GPSLOGGER, base)
    address = f"{base.rstrip('/')}/gateway/gpslogger/{SECRET}"
    assert found.url == f"{address}?{GPSLOGGER_TEMPLATE}"
    assert found.link == f"gpslogger://properties/{address}/xungeng.properties"
    profile = dict(line.split("=", 1) for line in gpslogger_profile(address).splitlines())
    assert profile["log_customurl_url"] == address
    assert profile["log_customurl_method"] == "POST"
    assert profile["log_customurl_body"] == GPSLOGGER_TEMPLATE
    assert profile["current_profile_name"] == "xungeng", "the app names it after the file"
    assert profile["log_customurl_discard_offline_locations_enabled"] == "false"


@pytest.mark.parametrize("protocol", [p for p in Protocol if p is not Protocol.OFFICER])
def test_every_app_has_a_picture_and_a_note_in_both_languages(protocol: Protocol) -> None:
    found = made(protocol)
    assert set(found.note) == {"zh-CN", "en"}
    assert re.match(r"<svg [^>]*viewBox=", found.qr_svg)
    assert "<script" not in found.qr_svg
    assert found.qr_svg == qr_svg(found.link)


def test_an_officers_own_client_is_not_provisioned() -> None:
    with pytest.raises(ValueError, match="officer"):
        provision(Protocol.OFFICER, BASES[0], Credential(SECRET), "phone")
