"""What the installation is told from outside, read once and checked before anything starts.

Every setting is an environment variable, because shells, systemd, compose and Kubernetes all speak them.
A wrong one is a :class:`ConfigError` whose text is one sentence for the person who set it; nobody sees a
stack trace for a typing error.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit
from uuid import UUID

from backend.core.notice_settings import (
    Gateway,
    Mail,
    NoticeSettings,
    Templates,
    WechatApp,
    WecomApp,
    read_templates,
)
from backend.core.phones import DEMO_PHONES, MAINLAND_MOBILES
from backend.core.vocabulary import NoticeProfile

EMBEDDED_DATABASE = "xungeng"
EMBEDDED_SOCKET_PORT = 54329
"""Only the socket's file name carries it: the private cluster listens on no TCP port at all, and this number
keeps its socket apart from one of a system-wide PostgreSQL."""

OWNER_ROLE = "xungeng_owner"
APP_ROLE = "xungeng_app"
AUDITOR_ROLE = "xungeng_auditor"

MINIMUM_SECRET_BYTES = 32
_DAY_S = 86_400


class ConfigError(Exception):
    """A setting that cannot be served with, or a missing prerequisite. The text is one clear sentence."""


@dataclass(frozen=True)
class Config:
    """The checked settings of one process. Durations carry their unit in the name."""

    data_dir: Path
    database_url: str
    """SQLAlchemy URL that the application connects with: a role that is no superuser and owns nothing."""
    owner_url: str
    """SQLAlchemy URL of the role that owns the tables; migrations alone use it."""
    secret_key: bytes
    embedded: bool = False
    """True when no ``DATABASE_URL`` is given and the private cluster in the data folder is served from."""

    host: str = "0.0.0.0"
    port: int = 8000
    production: bool = False
    demo: bool = True
    public_url: str | None = None
    """The address people type, for links and QR codes; None means that each request's own address is used."""
    hostnames: tuple[str, ...] = ()
    trusted_hops: int = 0
    """How many reverse proxies in front are ours; X-Forwarded-* of further hops is never believed."""
    tls: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    ca_port: int | None = None

    sms_url: str | None = None
    """The operator's SMS gateway (``backend.adapters.sms``); None prints codes in development."""
    sms_token: str | None = None
    code_prefixes: tuple[str, ...] = MAINLAND_MOBILES
    """What the numbers begin with (E.164) that one-time codes are sent to: each message costs money, abroad most."""
    desk_phone: str | None = None
    """What phones offer to call when a call for help cannot be sent."""
    desk_sms: str | None = None
    """Where they offer to send it as a text message, the place written in."""
    notices: NoticeSettings = field(default_factory=NoticeSettings)
    """By what people are reached beside the app itself."""
    notice_retention_days: int = 90
    metrics_token: str | None = None
    """Lets another machine read ``/metrics``; without it only this machine may."""

    redis_url: str | None = None
    web_processes: int = 1
    ingest_processes: int = 0
    ingest_port: int = 8100
    worker_connections: int = 4000

    access_ttl_s: int = 900
    refresh_ttl_s: int = 30 * _DAY_S
    otp_ttl_s: int = 300
    idempotency_retention_days: int = 30
    fix_retention_days: int = 30
    visit_retention_days: int = 400
    partitions_ahead_days: int = 7
    shift_max_h: int = 14
    shift_grace_min: int = 30
    silent_after_s: int = 180
    silent_alarm_s: int = 600
    outage_officers: int = 10
    outage_percent: int = 50
    """So many, and of those who had been heard of so much, fall silent at once before it is one alarm."""
    deviation_m: int = 300
    deviation_s: int = 120
    roster_late_min: int = 5
    """From so many minutes on, somebody who comes to a planned shift is late."""
    roster_early_min: int = 5
    """From so many minutes on, somebody who leaves it has left early."""
    report_sample_percent: int = 10
    """Of what officers handled on the spot, how much the desk is asked to look at."""
    evidence_max_mb: int = 30
    """The largest photo that is taken in, in MiB."""
    recording_max_mb: int = 4096
    custody_keys: tuple[bytes, ...] = ()
    custody_macs: tuple[bytes, ...] = ()
    """The largest video or audio file that is taken in, in MiB."""
    evidence_quota_gb: int = 100
    """How much evidence one town may keep, in GiB."""
    image_megapixels: int = 64
    """The most pixels that a photo may have, in millions."""
    roll_call_min: int = 5
    broadcast_min: int = 60
    simulate_officers: int = 24

    log_level: str = "INFO"
    version: str = "0.1.0"

    @property
    def secrets_dir(self) -> Path:
        """The folder of what must never be read by others, mode 0700."""
        return self.data_dir / "secrets"

    @property
    def evidence_dir(self) -> Path:
        """The folder of photos, and of those that are on their way."""
        return self.data_dir / "evidence"

    @property
    def custody_key(self) -> Path:
        """The key that signs the heads of the custody log; made at the first need."""
        return self.secrets_dir / "custody.pem"

    @property
    def exports_dir(self) -> Path:
        """Where bundles of evidence lie until their time is over."""
        return self.data_dir / "exports"

    def bundle(self, town_id: UUID, export_id: UUID) -> Path:
        """Where a bundle of evidence lies."""
        return self.exports_dir / str(town_id) / f"{export_id}.zip"

    @property
    def custody_heads(self) -> Path:
        """The file of signed heads: to be kept where whoever owns the database cannot write."""
        return self.data_dir / "custody" / "heads.jsonl"

    @property
    def secure(self) -> bool:
        """Whether people reach the installation by HTTPS, by our own certificate or by a declared proxy's."""
        return self.tls or (self.public_url or "").startswith("https://")

    @property
    def served_url(self) -> str:
        """Where this machine finds the installation: as the running server says, or as the settings have it."""
        try:
            return (self.data_dir / "serving").read_text(encoding="utf-8").strip()
        except OSError:
            return f"{'https' if self.tls else 'http'}://localhost:{self.port}"

    @staticmethod
    def unknown_in(env: Mapping[str, str] | None = None) -> list[str]:
        """Return a sentence about each ``XUNGENG_`` variable that is no setting: it was meant to be one.

        Raises:
            ConfigError: as :meth:`from_env`.
        """
        asked = _Asked(os.environ if env is None else env)
        _read(asked)
        known = asked.names | _OF_OTHERS
        sentences = []
        for name in sorted(asked.env):
            if name.startswith("XUNGENG_") and name not in known:
                ours = [setting.removeprefix("XUNGENG_") for setting in known - _OF_OTHERS]
                near = get_close_matches(name.removeprefix("XUNGENG_"), ours, n=1, cutoff=0.7)
                meant = f"; did you mean XUNGENG_{near[0]}?" if near else "."
                sentences.append(f"{name} is set, but there is no such setting{meant}")
        return sentences

    @staticmethod
    def from_env(env: Mapping[str, str] | None = None) -> Config:
        """Read and check the settings of ``env`` (default: the process environment).

        Makes the data folder and, at the first start, the secret key in it (0600).

        Raises:
            ConfigError: a setting is missing, malformed or contradicts another; the text is one sentence.
        """
        return _read(os.environ if env is None else env)


_OF_OTHERS = frozenset(
    {
        "XUNGENG_API", "XUNGENG_CA_FILE", "XUNGENG_CERTIFICATES", "XUNGENG_CHROMIUM", "XUNGENG_LISTEN_FD",
        "XUNGENG_OWNER_PASSWORD", "XUNGENG_SETUP_LOCKED", "XUNGENG_SUPERUSER_PASSWORD", "XUNGENG_WEB_PASSWORD",
    }
)  # fmt: skip
"""Variables of scripts, tests, compose and of ours towards our children, which are no settings."""


class _Asked(Mapping[str, str]):
    """An environment that remembers what was looked for in it: the settings there are, whether set or not."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return self.env[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.env)

    def __len__(self) -> int:
        return len(self.env)


def _read(env: Mapping[str, str]) -> Config:
    mode = _text(env, "XUNGENG_MODE") or "development"
    if mode not in ("development", "production"):
        raise ConfigError(f"XUNGENG_MODE is {mode!r}, but it has to be development or production.")
    production = mode == "production"

    data_dir = _data_dir(env)
    database_url, owner_url, embedded = _databases(env, data_dir)
    cert, key = _file(env, "XUNGENG_TLS_CERT"), _file(env, "XUNGENG_TLS_KEY")
    if (cert is None) != (key is None):
        raise ConfigError(
            "XUNGENG_TLS_CERT and XUNGENG_TLS_KEY belong together, but only one of them is set."
        )

    redis_url = _text(env, "XUNGENG_REDIS_URL")
    if redis_url and not redis_url.startswith(("redis://", "rediss://")):
        raise ConfigError("XUNGENG_REDIS_URL has to start with redis:// or rediss://.")
    web_processes = _number(env, "XUNGENG_WEB_PROCESSES", 1, low=1, high=64)
    ingest_processes = _number(env, "XUNGENG_INGEST_PROCESSES", 0, low=0, high=64)
    if (web_processes > 1 or ingest_processes) and not redis_url:
        raise ConfigError(
            "More than one web process or any ingest process needs XUNGENG_REDIS_URL, because they tell each"
            " other through Redis what the live map shows."
        )

    public_url = _text(env, "XUNGENG_PUBLIC_URL")
    if public_url:
        parts = urlsplit(public_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                "XUNGENG_PUBLIC_URL has to be a whole address such as https://xungeng.example.cn."
            )
        public_url = public_url.rstrip("/")

    port = _number(env, "PORT", 8000, low=1, high=65535)
    demo = _switch(env, "XUNGENG_DEMO", default=not production)
    return Config(
        data_dir=data_dir,
        database_url=database_url,
        owner_url=owner_url,
        secret_key=_secret_key(env, data_dir),
        embedded=embedded,
        host=_text(env, "XUNGENG_HOST") or "0.0.0.0",
        port=port,
        production=production,
        demo=demo,
        public_url=public_url,
        hostnames=tuple(name for name in (_text(env, "XUNGENG_HOSTNAMES") or "").replace(",", " ").split()),
        trusted_hops=_number(env, "XUNGENG_TRUSTED_HOPS", 0, low=0, high=8),
        tls=cert is not None or _switch(env, "XUNGENG_TLS", default=False),
        tls_cert=cert,
        tls_key=key,
        ca_port=_number(env, "XUNGENG_CA_PORT", 0, low=0, high=65535) or None,
        sms_url=_text(env, "XUNGENG_SMS_URL"),
        sms_token=_text(env, "XUNGENG_SMS_TOKEN"),
        code_prefixes=_prefixes(_text(env, "XUNGENG_CODE_PREFIXES")) + ((DEMO_PHONES,) if demo else ()),
        desk_phone=_dialled(env, "XUNGENG_DESK_PHONE"),
        desk_sms=_dialled(env, "XUNGENG_DESK_SMS"),
        notices=_notices(env, data_dir, public_url),
        notice_retention_days=_number(env, "XUNGENG_NOTICE_RETENTION_DAYS", 90, low=7, high=3660),
        metrics_token=_text(env, "XUNGENG_METRICS_TOKEN"),
        redis_url=redis_url,
        web_processes=web_processes,
        ingest_processes=ingest_processes,
        ingest_port=_number(env, "XUNGENG_INGEST_PORT", 8100, low=1, high=65535),
        worker_connections=_number(env, "XUNGENG_WORKER_CONNECTIONS", 4000, low=10, high=100_000),
        access_ttl_s=_number(env, "XUNGENG_ACCESS_TTL_S", 900, low=30, high=_DAY_S),
        refresh_ttl_s=_number(env, "XUNGENG_REFRESH_TTL_S", 30 * _DAY_S, low=60, high=400 * _DAY_S),
        otp_ttl_s=_number(env, "XUNGENG_OTP_TTL_S", 300, low=30, high=3600),
        fix_retention_days=_number(env, "XUNGENG_FIX_RETENTION_DAYS", 30, low=7, high=3660),
        visit_retention_days=_number(env, "XUNGENG_VISIT_RETENTION_DAYS", 400, low=31, high=3660),
        partitions_ahead_days=_number(env, "XUNGENG_PARTITIONS_AHEAD_DAYS", 7, low=2, high=60),
        shift_max_h=_number(env, "XUNGENG_SHIFT_MAX_H", 14, low=1, high=48),
        shift_grace_min=_number(env, "XUNGENG_SHIFT_GRACE_MIN", 30, low=0, high=600),
        silent_after_s=_number(env, "XUNGENG_SILENT_AFTER_S", 180, low=10, high=86_400),
        silent_alarm_s=_number(env, "XUNGENG_SILENT_ALARM_S", 600, low=30, high=86_400),
        outage_officers=_number(env, "XUNGENG_OUTAGE_OFFICERS", 10, low=2, high=100_000),
        outage_percent=_number(env, "XUNGENG_OUTAGE_PERCENT", 50, low=10, high=100),
        deviation_m=_number(env, "XUNGENG_DEVIATION_M", 300, low=50, high=100_000),
        roster_late_min=_number(env, "XUNGENG_ROSTER_LATE_MIN", 5, low=0, high=120),
        roster_early_min=_number(env, "XUNGENG_ROSTER_EARLY_MIN", 5, low=0, high=120),
        deviation_s=_number(env, "XUNGENG_DEVIATION_S", 120, low=10, high=3600),
        report_sample_percent=_number(env, "XUNGENG_REPORT_SAMPLE_PERCENT", 10, low=0, high=100),
        evidence_max_mb=_number(env, "XUNGENG_EVIDENCE_MAX_MB", 30, low=1, high=1024),
        custody_keys=_keys(env, "XUNGENG_CUSTODY_KEYS"),
        custody_macs=_mac_keys(env, data_dir),
        recording_max_mb=_number(env, "XUNGENG_RECORDING_MAX_MB", 4096, low=1, high=16 * 1024),
        evidence_quota_gb=_number(env, "XUNGENG_EVIDENCE_QUOTA_GB", 100, low=1, high=1_000_000),
        image_megapixels=_number(env, "XUNGENG_IMAGE_MEGAPIXELS", 64, low=1, high=400),
        roll_call_min=_number(env, "XUNGENG_ROLL_CALL_MIN", 5, low=1, high=120),
        broadcast_min=_number(env, "XUNGENG_BROADCAST_MIN", 60, low=1, high=1440),
        simulate_officers=_number(env, "XUNGENG_SIMULATE_OFFICERS", 24, low=0, high=1000),
        log_level=_level(env),
    )


def _text(env: Mapping[str, str], name: str) -> str | None:
    value = env.get(name, "").strip()
    return value or None


def _number(env: Mapping[str, str], name: str, default: int, *, low: int, high: int) -> int:
    text = _text(env, name)
    if text is None:
        return default
    try:
        value = int(text)
    except ValueError:
        raise ConfigError(f"{name} is {text!r}, but it has to be a whole number.") from None
    if not low <= value <= high:
        raise ConfigError(f"{name} is {value}, but it has to be between {low} and {high}.")
    return value


def _switch(env: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = _text(env, name)
    if text is None:
        return default
    if text not in ("0", "1"):
        raise ConfigError(f"{name} is {text!r}, but it has to be 1 or 0.")
    return text == "1"


def _file(env: Mapping[str, str], name: str) -> Path | None:
    text = _text(env, name)
    if text is None:
        return None
    path = Path(text)
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ConfigError(f"{name} names {text}, which is not a file that can be read.")
    return path


def _keys(env: Mapping[str, str], name: str) -> tuple[bytes, ...]:
    """Read public keys of 32 bytes, in hexadecimal, with commas or spaces between."""
    try:
        found = tuple(bytes.fromhex(one) for one in (_text(env, name) or "").replace(",", " ").split())
    except ValueError:
        found = (b"",)
    if any(len(key) != 32 for key in found):
        raise ConfigError(f"{name} has to be public keys of 64 hexadecimal digits, with commas between.")
    return found


def _prefixes(text: str | None) -> tuple[str, ...]:
    if text is None:
        return MAINLAND_MOBILES
    prefixes = tuple(text.replace(",", " ").split())
    for prefix in prefixes:
        if not re.fullmatch(r"\+[1-9][0-9]{0,13}", prefix):
            raise ConfigError(
                f"XUNGENG_CODE_PREFIXES names {prefix!r}, but each has to begin as +8613 does, with the country."
            )
    return prefixes


def _dialled(env: Mapping[str, str], name: str) -> str | None:
    """Return a number as a telephone dials it, with nothing between its digits; short numbers are numbers too."""
    text = _text(env, name)
    if text is None:
        return None
    number = re.sub(r"[\s()-]", "", text)
    if not re.fullmatch(r"\+?[0-9]{3,15}", number):
        raise ConfigError(f"{name} is {text!r}, but it has to be a telephone number.")
    return number


def _notices(env: Mapping[str, str], data_dir: Path, public_url: str | None) -> NoticeSettings:
    profile = _text(env, "XUNGENG_NOTICE_PROFILE")
    if profile is not None and profile not in set(NoticeProfile):
        raise ConfigError(f"XUNGENG_NOTICE_PROFILE is {profile!r}, but it has to be cn or intl.")
    contact = _text(env, "XUNGENG_WEBPUSH_CONTACT")
    if contact and not contact.startswith(("mailto:", "https://")):
        raise ConfigError("XUNGENG_WEBPUSH_CONTACT has to start with mailto: or https://.")
    wecom = _together(
        XUNGENG_WECOM_CORP_ID=_text(env, "XUNGENG_WECOM_CORP_ID"),
        XUNGENG_WECOM_AGENT_ID=_text(env, "XUNGENG_WECOM_AGENT_ID"),
        XUNGENG_WECOM_SECRET=_text(env, "XUNGENG_WECOM_SECRET"),
    )
    if wecom and not wecom[1].isdigit():
        raise ConfigError("XUNGENG_WECOM_AGENT_ID has to be a number.")
    mini = _together(
        XUNGENG_WECHAT_MINI_ID=_text(env, "XUNGENG_WECHAT_MINI_ID"),
        XUNGENG_WECHAT_MINI_SECRET=_text(env, "XUNGENG_WECHAT_MINI_SECRET"),
    )
    service = _together(
        XUNGENG_WECHAT_SERVICE_ID=_text(env, "XUNGENG_WECHAT_SERVICE_ID"),
        XUNGENG_WECHAT_SERVICE_SECRET=_text(env, "XUNGENG_WECHAT_SERVICE_SECRET"),
    )
    wecom_base, wechat_base = _url(env, "XUNGENG_WECOM_URL"), _url(env, "XUNGENG_WECHAT_URL")
    sms, voice = _text(env, "XUNGENG_SMS_URL"), _url(env, "XUNGENG_VOICE_URL")
    return NoticeSettings(
        profile=NoticeProfile(profile) if profile else None,
        fcm_credentials=_service_account(_file(env, "XUNGENG_FCM_CREDENTIALS")),
        webpush_contact=contact,
        webpush_services=tuple((_text(env, "XUNGENG_WEBPUSH_SERVICES") or "").replace(",", " ").split()),
        vapid_key=data_dir / "secrets" / "vapid.pem",
        wecom=WecomApp(wecom[0], int(wecom[1]), wecom[2], wecom_base) if wecom else None,
        wecom_robots=_robots(_text(env, "XUNGENG_WECOM_ROBOTS")),
        wechat_mini=WechatApp(mini[0], mini[1], wechat_base) if mini else None,
        wechat_service=WechatApp(service[0], service[1], wechat_base) if service else None,
        sms=Gateway(sms, _text(env, "XUNGENG_SMS_TOKEN")) if sms else None,
        voice=Gateway(voice, _text(env, "XUNGENG_VOICE_TOKEN")) if voice else None,
        mail=_mail(_text(env, "XUNGENG_SMTP_URL"), _text(env, "XUNGENG_MAIL_FROM")),
        templates=_templates(_file(env, "XUNGENG_NOTICE_TEMPLATES")),
        public_url=public_url,
    )


def _service_account(path: Path | None) -> Path | None:
    if path is not None:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            complete = {"project_id", "private_key", "client_email", "token_uri"} <= found.keys()
        except (OSError, ValueError, AttributeError):
            complete = False
        if not complete:
            raise ConfigError(
                f"XUNGENG_FCM_CREDENTIALS names {path}, which is no service account's JSON file."
            )
    return path


def _together(**values: str | None) -> list[str] | None:
    """Return settings that mean something together only; None when none of them is set."""
    given = [value for value in values.values() if value is not None]
    if not given:
        return None
    if len(given) < len(values):
        missing = ", ".join(name for name, value in values.items() if value is None)
        raise ConfigError(f"{' and '.join(values)} belong together, but {missing} is not set.")
    return given


def _url(env: Mapping[str, str], name: str) -> str | None:
    text = _text(env, name)
    if text is not None and not (text.startswith(("https://", "http://")) and urlsplit(text).hostname):
        raise ConfigError(f"{name} has to be a whole address such as https://gateway.example.cn.")
    return text.rstrip("/") if text else None


def _robots(text: str | None) -> dict[str, str]:
    robots = {}
    for part in (text or "").split():
        town, separator, url = part.partition("=")
        if not separator or not town or not url.startswith(("https://", "http://")):
            raise ConfigError(
                "XUNGENG_WECOM_ROBOTS has to name towns and webhooks as in qinghe=https://qyapi.weixin.qq.com/…,"
                " separated by spaces."
            )
        robots[town] = url
    return robots


def _mail(url: str | None, sender: str | None) -> Mail | None:
    if url is None and sender is None:
        return None
    parts = urlsplit(url or "")
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or not sender or "@" not in sender:
        raise ConfigError(
            "XUNGENG_SMTP_URL (smtp://user:password@host:587, or smtps://) and XUNGENG_MAIL_FROM (an address) belong"
            " together."
        )
    return Mail(
        host=parts.hostname,
        port=parts.port or (465 if parts.scheme == "smtps" else 587),
        sender=sender,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=parts.scheme == "smtps",
    )


def _templates(path: Path | None) -> Templates:
    if path is None:
        return {}
    try:
        return read_templates(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"XUNGENG_NOTICE_TEMPLATES: {path} {error}.") from None


def _level(env: Mapping[str, str]) -> str:
    level = (_text(env, "XUNGENG_LOG_LEVEL") or "INFO").upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ConfigError("XUNGENG_LOG_LEVEL has to be debug, info, warning or error.")
    return level


def _data_dir(env: Mapping[str, str]) -> Path:
    # Relative to the checkout, not to wherever the command was typed: two starts have to find the same data.
    checkout = Path(__file__).resolve().parents[2]
    path = checkout / (_text(env, "XUNGENG_DATA") or "var")
    path = Path(os.path.abspath(path))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The data folder {path} (XUNGENG_DATA) cannot be made: {error.strerror or error}."
        ) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError(f"The data folder {path} (XUNGENG_DATA) cannot be written to by this user.")
    return path


def _secret_key(env: Mapping[str, str], data_dir: Path) -> bytes:
    given = _text(env, "XUNGENG_SECRET_KEY")
    if given is not None:
        if len(given.encode()) < MINIMUM_SECRET_BYTES:
            raise ConfigError(f"XUNGENG_SECRET_KEY has to be at least {MINIMUM_SECRET_BYTES} bytes long.")
        return given.encode()
    folder = data_dir / "secrets"
    path = folder / "secret_key"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if not path.exists():
            _write_once(path, secrets.token_urlsafe(48))
        key = path.read_text().strip().encode()
    except OSError as error:
        raise ConfigError(f"The secret key {path} cannot be read: {error.strerror or error}.") from None
    if len(key) < MINIMUM_SECRET_BYTES:
        raise ConfigError(f"The secret key in {path} is shorter than {MINIMUM_SECRET_BYTES} bytes.")
    return key


def _mac_keys(env: Mapping[str, str], data_dir: Path) -> tuple[bytes, ...]:
    """Read the keys of the custody log's MACs, the one that is used now first, or make one."""
    given = _text(env, "XUNGENG_CUSTODY_MAC_KEY")
    path = data_dir / "secrets" / "custody.mac"
    try:
        if given is None:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            if not path.exists():
                _write_once(path, secrets.token_urlsafe(48))
            given = path.read_text()
    except OSError as error:
        raise ConfigError(f"The key {path} cannot be read: {error.strerror or error}.") from None
    keys = tuple(one.encode() for one in given.replace(",", " ").split())
    if not keys or any(len(key) < MINIMUM_SECRET_BYTES for key in keys):
        raise ConfigError(f"XUNGENG_CUSTODY_MAC_KEY has to be at least {MINIMUM_SECRET_BYTES} bytes long.")
    return keys


def _write_once(path: Path, text: str) -> None:
    """Make ``path`` with mode 0600 in one step; of several processes at once, the first one's text stays."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
    finally:
        Path(temporary).unlink()


def _databases(env: Mapping[str, str], data_dir: Path) -> tuple[str, str, bool]:
    given = _text(env, "DATABASE_URL")
    app_given = _text(env, "DATABASE_APP_URL")
    owner_given = _text(env, "DATABASE_OWNER_URL")
    if given is None:
        if app_given or owner_given:
            raise ConfigError("DATABASE_APP_URL and DATABASE_OWNER_URL need DATABASE_URL beside them.")
        run_dir = embedded_run_dir(data_dir)
        return embedded_url(run_dir, APP_ROLE), embedded_url(run_dir, OWNER_ROLE), True
    owner_url = _database_url("DATABASE_OWNER_URL" if owner_given else "DATABASE_URL", owner_given or given)
    if app_given:
        return _database_url("DATABASE_APP_URL", app_given), owner_url, False
    return _as_app_role(_database_url("DATABASE_URL", given)), owner_url, False


def _database_url(name: str, text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in ("postgres", "postgresql", "postgresql+psycopg"):
        raise ConfigError(
            f"{name} has to be a PostgreSQL address such as postgresql://user:password@host:5432/database."
        )
    try:
        parts = urlsplit("postgresql://" + rest)
        parts.port  # noqa: B018  (reading it is what checks it)
    except ValueError:
        raise ConfigError(f"{name} is not a readable address.") from None
    if parts.path in ("", "/"):
        raise ConfigError(f"{name} names no database.")
    return "postgresql+psycopg://" + rest


def _as_app_role(url: str) -> str:
    """The same connection, with the rights of the application's role from its first statement on."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    query["options"] = (query.get("options", "") + f" -c role={APP_ROLE}").strip()
    return urlunsplit(parts._replace(query=urlencode(query, quote_via=quote)))


def embedded_run_dir(data_dir: Path) -> Path:
    """The folder of the private cluster's socket: ``run`` in the data folder, or where that link leads.

    It is a link when the data folder's path is too long for a Unix socket or closed to the postgres user.
    """
    return Path(os.path.realpath(data_dir / "run"))


def embedded_url(run_dir: Path, role: str, database: str = EMBEDDED_DATABASE) -> str:
    """SQLAlchemy URL of a role of the private cluster whose socket is in ``run_dir``."""
    query = urlencode({"host": str(run_dir), "port": EMBEDDED_SOCKET_PORT}, quote_via=quote)
    return f"postgresql+psycopg://{role}@/{database}?{query}"


def libpq_url(url: str) -> str:
    """The same address as libpq and psycopg read it: without SQLAlchemy's driver name, blanks as %20 and not as +."""
    place, mark, query = url.replace("postgresql+psycopg://", "postgresql://", 1).partition("?")
    return place + mark + query.replace("+", "%20")
