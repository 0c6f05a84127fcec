"""The page of a bundle of evidence that people read: what is in it, from whom, why, and how it is verified."""

from __future__ import annotations

import html
from typing import Any

from backend.adapters import pages

MOST_ROWS = 12
"""So many pieces are on the page; all of them are in the manifest."""
KINDS = {"image": "照片 Photo", "video": "视频 Video", "audio": "录音 Audio"}

STYLE = """
@page { size: A4; margin: 14mm 14mm 12mm }
body { margin: 0; color: #000; font: 9pt/1.4 "Noto Sans CJK SC", "Noto Sans SC", sans-serif }
h1 { font-size: 17pt; margin: 0 0 4mm }
h1 small { font-size: 10pt; font-weight: normal; color: #444; margin-left: 3mm }
dl { display: grid; grid-template-columns: 40mm 1fr; gap: 1mm 3mm; margin: 0 0 5mm }
dt { color: #444 } dd { margin: 0; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100%; table-layout: fixed }
th, td { border-bottom: 0.2mm solid #999; text-align: left; vertical-align: top; padding: 1mm 1.5mm 1mm 0 }
th { font-weight: bold } td { overflow-wrap: anywhere } .n { width: 8mm }
.k { width: 20mm } .w { width: 33mm } .o { width: 22mm }
code { font: 6pt/1.3 "Noto Sans Mono", monospace; overflow-wrap: anywhere }
p { margin: 4mm 0 0 }
"""


def render(manifest: dict[str, Any]) -> bytes:
    """Make the page of what the manifest says; in the child process alone."""
    return pages.pdf(_document(manifest))


def _document(manifest: dict[str, Any]) -> str:
    items = manifest["items"]
    facts = {
        "单位 Town": f"{manifest['town']['name']['zh-CN']} {manifest['town']['name']['en']}",
        "证据包 Bundle": manifest["export"],
        "申请人 Asked for by": manifest["requested_by"]["name"],
        "申请时间 Asked for at": manifest["requested_at"],
        "事由 Reason": manifest["reason"],
        "案号 Case": manifest["case_number"] or "—",
        "制作时间 Made at": manifest["made_at"],
        "件数 Pieces": str(len(items)),
        "公钥 Public key": manifest["key"],
    }
    told = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in facts.items()
    )
    rows = "".join(_row(n, item) for n, item in enumerate(items[:MOST_ROWS], 1))
    rest = len(items) - MOST_ROWS
    more = f"<p>另有 {rest} 件，见 manifest.json。 And {rest} more, in manifest.json.</p>" if rest > 0 else ""
    return (
        f'<!doctype html><html lang="zh-CN"><meta charset="utf-8"><title>Xungeng</title><style>{STYLE}</style><body>'
        f"<h1>证据包说明<small>Evidence bundle</small></h1><dl>{told}</dl>"
        "<table><tr><th class=n></th><th class=k>类型 Kind</th><th class=w>拍摄 Taken · 封存 Sealed (UTC)</th>"
        f"<th class=o>人员 Officer</th><th>SHA-256</th></tr>{rows}</table>{more}"
        "<p>校验 Verify: <code>python3 verify.py BUNDLE.zip PUBLIC_KEY</code>。公钥请通过其他途径核对。"
        " Ask for the public key by another way than with this bundle.</p></body></html>"
    )


def _row(n: int, item: dict[str, Any]) -> str:
    return (
        f"<tr><td>{n}</td><td>{KINDS[item['kind']]}</td>"
        f"<td>{html.escape(item['captured_at'][:19])}<br>{html.escape(item['sealed_at'][:19])}</td>"
        f"<td>{html.escape(item['officer']['name'])}</td>"
        f"<td><code>{item['sha256']}</code><br><code>{item['id']}</code></td></tr>"
    )
