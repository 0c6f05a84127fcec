"""How a tracker app is told where to send and with which credential: by a link, and by the link as a QR code.

Pure: nothing here reads or writes anything. The addresses below ``/gateway`` are those of ``mobile_api.gateway``.
Sources of the links: Traccar Client's ``configuration_service.dart`` (any host but ``action``), the OwnTracks booklet
("URL config"), Overland's README, GPSLogger's FAQ ("profiles from a link").
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import segno

from backend.core.vocabulary import Protocol
from workflows.devices import Credential

INTERVAL_S = 10
HEARTBEAT_S = 60
"""Below a third of the time after which an officer counts as silent."""

GPSLOGGER_TEMPLATE = (
    "lat=%LAT&lon=%LON&time=%TIME&acc=%ACC&alt=%ALT&spd=%SPD&dir=%DIR"
    "&batt=%BATT&charging=%ISCHARGING&sat=%SAT&prov=%PROV"
)
"""GPSLogger fills the placeholders in. ``spd`` is in m/s, and therefore not called ``speed`` as in OsmAnd."""

OSMAND_TEMPLATE = (
    "lat={0}&lon={1}&timestamp={2}&accuracy={3}&altitude={4}&speed_mps={5}&bearing={6}&batt={11}"
)
"""For the OsmAnd app itself ("online tracking"): its {5} is in m/s and its {3} an accuracy in metres."""


@dataclass(frozen=True, slots=True)
class Provisioning:
    """What sets up one app on one phone. All of it is secret, and it exists for one answer alone.

    ``url`` is what is typed where a link does not work; ``link`` opens the app with everything filled in; ``qr_svg``
    is the link as a picture. ``id``, ``user``, ``password`` and ``token`` are the parts, where the app has fields
    for them.
    """

    url: str
    link: str
    qr_svg: str
    note: dict[str, str]
    id: str | None = None
    user: str | None = None
    password: str | None = None
    token: str | None = None
    template: str | None = None
    """For the OsmAnd app itself, whose users type an address with placeholders."""


def provision(protocol: Protocol, base_url: str, credential: Credential, device_name: str) -> Provisioning:
    """Return what sets up the app that speaks ``protocol``.

    Args:
        base_url: how phones reach the installation, such as ``https://xungeng.example.cn``, without a slash at the end.
    """
    base_url = base_url.rstrip("/")
    if protocol is Protocol.OSMAND:
        return _osmand(base_url, credential)
    if protocol is Protocol.OWNTRACKS:
        return _owntracks(base_url, credential, device_name)
    if protocol is Protocol.OVERLAND:
        return _overland(base_url, credential)
    if protocol is Protocol.GPSLOGGER:
        return _gpslogger(base_url, credential)
    raise ValueError(f"{protocol} needs no provisioning.")


def qr_svg(text: str) -> str:
    """Return the text as a QR code: an SVG element that scales with its place."""
    out = io.BytesIO()
    segno.make(text, error="m", micro=False).save(
        out, kind="svg", scale=4, border=4, xmldecl=False, omitsize=True
    )
    return out.getvalue().decode().strip()


def _osmand(base_url: str, credential: Credential) -> Provisioning:
    url = f"{base_url}/gateway/osmand"
    # No Google services on mainland phones: the system's own providers, and no stop detection, which needs them.
    link = "org.traccar.client://config?" + urlencode(
        {
            "url": url,
            "id": credential.secret,
            "accuracy": "high",
            "interval": INTERVAL_S,
            "distance": 0,
            "angle": 30,
            "heartbeat": HEARTBEAT_S,
            "buffer": "true",
            "wakelock": "true",
            "stop_detection": "false",
            "prefer_platform_providers": "true",
        },
        quote_via=quote,
    )
    return Provisioning(
        url=url,
        link=link,
        qr_svg=qr_svg(link),
        id=credential.secret,
        note={
            "zh-CN": "用 Traccar Client 扫描二维码或点击链接，确认“应用新配置”，再打开“持续定位”。"
            "手动设置时：服务器地址填上面的网址，设备标识填 id。"
            "用 OsmAnd 本身时：“在线跟踪”的网址填 template。",
            "en": "Scan the code in Traccar Client or open the link, confirm the new configuration, then switch"
            " tracking on. By hand: the address above as server URL, the id as device identifier. For OsmAnd itself:"
            ' the template as address of its "online tracking".',
        },
        template=f"{url}/{credential.secret}?{OSMAND_TEMPLATE}",
    )


def _owntracks(base_url: str, credential: Credential, device_name: str) -> Provisioning:
    url = f"{base_url}/gateway/owntracks"
    configuration = {
        "_type": "configuration",
        "mode": 3,  # HTTP
        "url": url,
        "auth": True,
        "usePassword": True,
        "username": credential.username,
        "password": credential.secret,
        "deviceId": "xungeng",
        "tid": (device_name.encode("ascii", "ignore").decode().strip() or "xg")[:2],
        "monitoring": 2,  # Move: the only mode whose interval is set
        "locatorInterval": INTERVAL_S,
        "moveModeLocatorInterval": INTERVAL_S,
        "locatorDisplacement": 10,
        "pubExtendedData": True,
        "extendedData": True,
        # A message that nobody here can decrypt is worthless.
        "encryptionKey": "",
        "cmd": False,
        "remoteConfiguration": False,
        "allowRemoteLocation": False,
    }
    encoded = base64.b64encode(json.dumps(configuration, separators=(",", ":")).encode()).decode()
    link = "owntracks:///config?inline=" + quote(encoded, safe="")
    return Provisioning(
        url=url,
        link=link,
        qr_svg=qr_svg(link),
        user=credential.username,
        password=credential.secret,
        note={
            "zh-CN": "用手机相机扫描二维码或点击链接，由 OwnTracks 打开并确认导入。"
            "手动设置时：模式选 HTTP，填写网址、用户名和密码，监控模式选“移动”，不要启用加密。",
            "en": "Scan the code with the phone's camera or open the link, let OwnTracks open it and confirm the"
            " import. By hand: mode HTTP, the address, user and password above, monitoring mode Move, no encryption.",
        },
    )


def _overland(base_url: str, credential: Credential) -> Provisioning:
    url = f"{base_url}/gateway/overland"
    parts = {"url": url, "token": credential.secret, "device_id": "xungeng"}
    link = "overland://setup?" + urlencode(parts, quote_via=quote)
    return Provisioning(
        url=url,
        link=link,
        qr_svg=qr_svg(link),
        token=credential.secret,
        note={
            "zh-CN": "在 iPhone 上扫描二维码或点击链接，由 Overland 打开，再把定位开关打开。"
            "手动设置时：Receiver Endpoint 填网址，Access Token 填 token。",
            "en": "Scan the code on the iPhone or open the link, let Overland open it, then switch tracking on."
            " By hand: the address as receiver endpoint, the token as access token.",
        },
    )


def _gpslogger(base_url: str, credential: Credential) -> Provisioning:
    address = f"{base_url}/gateway/gpslogger/{credential.secret}"
    link = f"gpslogger://properties/{address}/xungeng.properties"
    return Provisioning(
        url=f"{address}?{GPSLOGGER_TEMPLATE}",
        link=link,
        qr_svg=qr_svg(link),
        note={
            "zh-CN": "用手机相机扫描二维码或点击链接，GPSLogger 会下载并切换到配置“xungeng”，再点“开始记录”。"
            "手动设置时：在“记录到自定义网址”里填上面的网址（GET）。手机必须信任服务器的证书。",
            "en": 'Scan the code with the phone\'s camera or open the link: GPSLogger downloads the profile "xungeng"'
            ' and switches to it; then start logging. By hand: the address above under "Log to custom URL" (GET). The'
            " phone has to trust the server's certificate.",
        },
    )


def gpslogger_profile(address: str) -> str:
    """Return GPSLogger's settings as the ``.properties`` file that its link downloads; ``address`` holds the key.

    Fixes are posted, so that positions do not stand in the access logs of proxies.
    """
    settings = {
        "current_profile_name": "xungeng",
        "log_customurl_enabled": "true",
        "log_customurl_url": address,
        "log_customurl_method": "POST",
        "log_customurl_headers": "Content-Type: application/x-www-form-urlencoded",
        "log_customurl_body": GPSLOGGER_TEMPLATE,
        "log_customurl_discard_offline_locations_enabled": "false",
        "autocustomurl_enabled": "false",
        "time_before_logging": str(INTERVAL_S),
        "distance_before_logging": "0",
        "accuracy_before_logging": "100",
        "keep_fix": "true",
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())
