"""The one page on plain HTTP that a phone needs before it can use HTTPS: fetch and trust the installation's CA.

It has a port of its own, because a page behind the very certificate that is not yet trusted would teach people to
click warnings away. It serves the certificate (public by nature) and how to install it, and sends everything else
to the secure address. What came over plain HTTP could have been exchanged on the way: hence the fingerprint, which
the operator's terminal shows as well.
"""

from __future__ import annotations

import html
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from backend.serve_tls import fingerprint

PAGE = """<!doctype html><html lang="zh-CN"><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>巡更 · 信任证书 / Trust the certificate</title>
<style>body{{font:16px/1.7 system-ui,sans-serif;max-width:38em;margin:2em auto;padding:0 1em;color:#1f2933}}
a.b{{display:inline-block;background:#1464c8;color:#fff;padding:.6em 1.2em;border-radius:.4em;text-decoration:none}}
code{{word-break:break-all;background:#eef2f6;padding:.2em .4em}}</style>
<h1>巡更 Xungeng</h1>
<p>手机上的定位、拍照和离线功能需要 HTTPS。请先安装并信任本系统的根证书（只需一次）。</p>
<p><a class="b" href="/ca.crt">下载证书 / Download the certificate</a></p>
<p>安装前请核对指纹（SHA-256）与值班电脑终端上显示的一致：<br><code>{fingerprint}</code></p>
<ul><li><b>iPhone / iPad</b>：用 Safari 打开本页下载 → 设置 → 已下载描述文件 → 安装
 → 通用 → 关于本机 → 证书信任设置 → 打开本证书。</li>
<li><b>Android / HarmonyOS</b>：下载后，设置 → 安全 → 更多安全设置 → 加密和凭据 → 从存储设备安装 → CA 证书。</li>
<li><b>Windows / macOS / Linux</b>：把证书导入“受信任的根证书颁发机构”（浏览器或系统的证书管理）。</li></ul>
<p><a class="b" href="{secure}">打开巡更 / Open Xungeng</a></p><hr><div lang="en">
<p>Location, camera and offline use on phones need HTTPS. Install and trust this installation's root certificate
once. Before that, compare the SHA-256 fingerprint above with the one that the server's terminal shows.</p>
<ul><li><b>iPhone, iPad</b>: download in Safari → Settings → Profile downloaded → Install → General → About →
Certificate trust settings → switch it on.</li>
<li><b>Android, HarmonyOS</b>: download, then Settings → Security → Encryption and credentials → Install a
certificate → CA certificate.</li>
<li><b>Windows, macOS, Linux</b>: import it as a trusted root in the browser's or the system's certificates.</li></ul>
</div></html>"""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    address_family = socket.AF_INET

    def __init__(self, address: tuple[str, int], ca: Path, secure_port: int) -> None:
        super().__init__(address, _Handler)
        certificate = x509.load_pem_x509_certificate(ca.read_bytes())
        self.der = certificate.public_bytes(serialization.Encoding.DER)
        self.fingerprint = fingerprint(certificate)
        self.secure_port = secure_port


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "Xungeng"
    sys_version = ""
    timeout = 10

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        host = self._host()
        secure = f"https://{host}:{self.server.secure_port}/"
        if path == "/ca.crt":
            self._answer(self.server.der, "application/x-x509-ca-cert")
        elif path in ("/ca", "/"):
            page = PAGE.format(fingerprint=self.server.fingerprint, secure=html.escape(secure))
            self._answer(page.encode(), "text/html; charset=utf-8")
        else:
            self.send_response(HTTPStatus.TEMPORARY_REDIRECT)
            self.send_header("Location", secure + path.lstrip("/"))
            self.send_header("Content-Length", "0")
            self.end_headers()

    def do_HEAD(self) -> None:
        self.do_GET()

    def _host(self) -> str:
        """The name by which the phone called us, if it is a plain one."""
        given = self.headers.get("Host", "")
        host = given.rpartition(":")[0] if given.rpartition(":")[2].isdigit() else given
        plain = host.strip("[]").replace(".", "").replace("-", "").replace(":", "")
        return host if plain.isalnum() and plain.isascii() else "localhost"

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the addresses of phones are nobody's business here."""


def main() -> None:
    """``python -m backend.serve_ca DESCRIPTOR CA SECURE_PORT``: serve on the listening socket of that number."""
    descriptor, ca, secure_port = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    server = _Server(("127.0.0.1", 0), ca, secure_port)
    server.socket.close()
    server.socket = socket.socket(fileno=descriptor)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
