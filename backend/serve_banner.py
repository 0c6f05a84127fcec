"""What ``xungeng serve`` says when it runs: where to look, how to sign in, whom phones have to trust."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from backend.core.config import Config
from backend.serve_listening import bracketed, ca_port, local_url, reachable_urls

ROOT = Path(__file__).resolve().parents[1]


def banner(config: Config) -> str:
    """Where to look and how to sign in."""
    here = local_url(config, name="localhost")
    lines = ["", "  巡更 Xungeng is running.", "", f"    Desk      指挥席    {here}/desk/"]
    lines.append(f"    Officers  巡逻队员  {here}/officer/")
    lines.append(f"    Residents 居民      {here}/resident/")
    outside = config.public_url or next(iter(reachable_urls(config)), None)
    if outside:
        lines.append(f"    From other machines and phones: {outside}/")
    lines.append(f"    API       {here}/api/docs")
    lines += _account_lines(config)
    lines += _security_lines(config)
    lines += ["", "  Ctrl-C stops everything.", ""]
    return "\n".join(lines)


def _account_lines(config: Config) -> list[str]:
    from backend.demo import accounts

    try:
        found = json.loads(accounts.path(config).read_text())
    except (OSError, ValueError):
        return []
    lines = ["", "  Sign in to the demo town (made for this installation alone):"]
    for role in ("supervisor", "desk", "admin", "auditor"):
        account = found.get(role)
        if account:
            lines.append(f"    {role:<11} {account['login']:<18} {account['password']}")
    for officer in found.get("officers", [])[:1]:
        lines.append(f"    {'officer':<11} {officer['login']:<18} {officer['password']}")
    for resident in found.get("residents", [])[:1]:
        number = resident["phone"].removeprefix("+86")
        lines.append(
            f"    {'resident':<11} {number:<18} and the code that is printed here when it is asked for"
        )
    where = "" if config.data_dir == ROOT / "var" else f"XUNGENG_DATA={shlex.quote(str(config.data_dir))} "
    lines.append(
        f"    more of them: {where}script/xungeng demo accounts (--json: all, with the trackers' credentials)"
    )
    return lines


def _security_lines(config: Config) -> list[str]:
    if config.tls and not config.tls_cert:
        return _trust_lines(config)
    if not config.secure and config.host not in ("127.0.0.1", "localhost", "::1"):
        return [
            "",
            "  Plain HTTP: beyond localhost browsers switch off geolocation (定位), the wake lock (屏幕常亮),",
            "  the camera (相机), and service workers with installation and offline use (离线使用与安装).",
            "  For phones start with: script/server --tls",
        ]
    return []


def _trust_lines(config: Config) -> list[str]:
    import io

    import segno

    from backend.serve_tls import certificate_for, local_addresses

    host = next(iter(config.hostnames), None) or next(iter(local_addresses()), "localhost")
    url = f"http://{bracketed(host)}:{ca_port(config)}/ca"
    drawn = io.StringIO()
    segno.make(url, error="m", micro=False).terminal(out=drawn, compact=True, border=2)
    return [
        "",
        "  HTTPS with this installation's own CA. Phones fetch and trust it once (扫码信任证书):",
        f"    {url}",
        *("    " + line for line in drawn.getvalue().splitlines()),
        "  SHA-256 of the CA, to compare on the phone before trusting it:",
        f"    {certificate_for(config).fingerprint}",
    ]
