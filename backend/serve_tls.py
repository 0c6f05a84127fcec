"""HTTPS without an authority outside: a CA of the installation, and a certificate of its own that renews itself.

The CA's key never leaves ``tls/`` in the data folder (0600). Phones trust the CA once; the certificate underneath is
made anew when it nears its end or when the machine has other names or addresses.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import secrets
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from backend.core.clock import now
from backend.core.config import Config, ConfigError

CA_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=90)
RENEW_BEFORE = timedelta(days=30)
_BACKDATE = timedelta(days=1)
"""A phone whose clock is a little behind would find a certificate of this minute not yet valid."""

_SIOCGIFADDR = 0x8915


@dataclass(frozen=True)
class Certificate:
    """What the server serves with. ``ca`` is None when the certificate was given and is publicly trusted."""

    certificate: Path
    key: Path
    ca: Path | None
    fingerprint: str | None


def certificate_for(config: Config) -> Certificate:
    """The given certificate, or one by the installation's CA, made or renewed now if need be.

    Raises:
        ConfigError: the given certificate and key cannot be read, do not match or have expired.
    """
    if config.tls_cert and config.tls_key:
        _check_given(config.tls_cert, config.tls_key)
        return Certificate(config.tls_cert, config.tls_key, None, None)
    folder = config.data_dir / "tls"
    folder.mkdir(mode=0o700, exist_ok=True)
    ca, ca_key = _authority(folder)
    names = subjects(config)
    if not _is_good(folder / "server.crt", folder / "server.key", ca, names):
        _issue(folder, ca, ca_key, names)
    return Certificate(folder / "server.crt", folder / "server.key", folder / "ca.crt", fingerprint(ca))


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate in pairs, as phones show it."""
    return ":".join(f"{byte:02X}" for byte in certificate.fingerprint(hashes.SHA256()))


def subjects(config: Config) -> tuple[str, ...]:
    """Every name and address by which this machine may be called, sorted."""
    names = {"localhost", "127.0.0.1", "::1", *config.hostnames, *local_addresses()}
    host = socket.gethostname()
    if host and host != "localhost":
        names |= {host, host.split(".")[0] + ".local"}
    if config.public_url and (public := urlsplit(config.public_url).hostname):
        names.add(public)
    return tuple(sorted(names))


def local_addresses() -> list[str]:
    """The addresses of this machine's interfaces that others can reach, IPv4 before IPv6."""
    found: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _index, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # An interface without an IPv4 address.
                continue
            found.append(socket.inet_ntoa(answer[20:24]))
    try:
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
    except OSError:
        lines = []
    found += [str(ipaddress.IPv6Address(int(line.split()[0], 16))) for line in lines]
    reachable = [
        text for text in found if not (ip := ipaddress.ip_address(text)).is_loopback and not ip.is_link_local
    ]
    return list(dict.fromkeys(reachable))


def _authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate_path, key_path = folder / "ca.crt", folder / "ca.key"
    if certificate_path.exists() and key_path.exists():
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return x509.load_pem_x509_certificate(certificate_path.read_bytes()), key
    key = ec.generate_private_key(ec.SECP256R1())
    # A part of the name is random: a phone that trusted an earlier installation here keeps the two apart.
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Xungeng 巡更"),
            x509.NameAttribute(
                NameOID.COMMON_NAME, f"Xungeng CA {secrets.token_hex(3)} ({socket.gethostname()[:32]})"
            ),
        ]
    )
    begin = now() - _BACKDATE
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(key_path, _pem(key), 0o600)
    _write(certificate_path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return certificate, key


def _issue(
    folder: Path, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey, names: Iterable[str]
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    begin = now() - _BACKDATE
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Xungeng 巡更")]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(min(begin + LEAF_LIFE, ca.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    # The certificate last: whoever finds it complete finds its key in place as well.
    _write(folder / "server.key", _pem(key), 0o600)
    _write(folder / "server.crt", certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _is_good(certificate_path: Path, key_path: Path, ca: x509.Certificate, names: Iterable[str]) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
    except (OSError, ValueError):
        return False
    held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (
        certificate.issuer == ca.subject
        and certificate.public_key() == key.public_key()
        and certificate.not_valid_after_utc - now() > RENEW_BEFORE
        and set(held) >= {_general_name(name) for name in names}
    )


def _check_given(certificate_path: Path, key_path: Path) -> None:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
    except (ValueError, TypeError):
        raise ConfigError(
            "XUNGENG_TLS_CERT and XUNGENG_TLS_KEY have to be a PEM certificate and its unencrypted PEM key."
        ) from None
    if certificate.public_key() != key.public_key():
        raise ConfigError(
            "The key in XUNGENG_TLS_KEY does not belong to the certificate in XUNGENG_TLS_CERT."
        )
    if certificate.not_valid_after_utc <= now():
        ended: datetime = certificate.not_valid_after_utc
        raise ConfigError(f"The certificate in XUNGENG_TLS_CERT expired on {ended:%Y-%m-%d}.")


def given_name(certificate_path: Path) -> str | None:
    """The first DNS name of a certificate, without a wildcard's: what it is reached by."""
    certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    return next((name for name in names.get_values_for_type(x509.DNSName) if "*" not in name), None)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    """Replace ``path`` in one step, with its mode from the first byte on."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
