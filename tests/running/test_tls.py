"""HTTPS by the installation's own CA: trusted once, renewed by itself, its key nobody else's."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
import time_machine
from cryptography import x509

from backend.core.clock import now
from backend.core.config import Config, ConfigError
from backend.serve_tls import certificate_for, local_addresses, subjects


@pytest.fixture
def tls_config(tmp_path: Path) -> Config:
    return Config.from_env(
        {"XUNGENG_DATA": str(tmp_path), "XUNGENG_HOSTNAMES": "town.example", "XUNGENG_TLS": "1"}
    )


def test_the_keys_are_readable_by_their_owner_alone(tls_config: Config) -> None:
    certificate_for(tls_config)
    folder = tls_config.data_dir / "tls"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "ca.key").stat().st_mode & 0o777 == 0o600
    assert (folder / "server.key").stat().st_mode & 0o777 == 0o600


def test_the_certificate_names_the_host_and_every_address_of_the_machine(tls_config: Config) -> None:
    made = x509.load_pem_x509_certificate(certificate_for(tls_config).certificate.read_bytes())
    held = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", "town.example"} <= set(held.get_values_for_type(x509.DNSName))
    addresses = {str(address) for address in held.get_values_for_type(x509.IPAddress)}
    assert {"127.0.0.1", "::1", *local_addresses()} <= addresses
    assert "town.example" in subjects(tls_config)


def test_it_stays_until_it_nears_its_end_and_the_authority_stays_longer(tls_config: Config) -> None:
    first = certificate_for(tls_config)
    before = first.certificate.read_bytes()
    assert certificate_for(tls_config).certificate.read_bytes() == before
    with time_machine.travel(now() + timedelta(days=61), tick=False):
        renewed = certificate_for(tls_config)
    assert renewed.certificate.read_bytes() != before
    assert renewed.fingerprint == first.fingerprint


def test_a_new_name_of_the_machine_makes_a_new_certificate(tls_config: Config) -> None:
    before = certificate_for(tls_config).certificate.read_bytes()
    assert (
        certificate_for(replace(tls_config, hostnames=("other.example",))).certificate.read_bytes() != before
    )


@pytest.fixture
def served(tls_config: Config) -> Iterator[Callable[[], tuple[int, Path]]]:
    """A server on the certificate; answers its port and the CA's path."""
    servers: list[HTTPServer] = []

    def start() -> tuple[int, Path]:
        made = certificate_for(tls_config)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.certificate, made.key)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        server = HTTPServer(("127.0.0.1", 0), Handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        assert made.ca is not None
        return server.server_port, made.ca

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_client_that_trusts_the_ca_is_content_and_another_one_is_not(
    served: Callable[[], tuple[int, Path]],
) -> None:
    port, ca = served()
    trusting = ssl.create_default_context(cafile=ca)
    assert httpx.get(f"https://127.0.0.1:{port}/", verify=trusting).status_code == 204
    assert httpx.get(f"https://localhost:{port}/", verify=trusting).status_code == 204
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"https://127.0.0.1:{port}/", verify=ssl.create_default_context())


def test_a_given_certificate_and_key_that_do_not_match_are_refused(
    tls_config: Config, tmp_path: Path
) -> None:
    made = certificate_for(tls_config)
    other = (
        certificate_for(replace(tls_config, data_dir=tmp_path / "other"))
        if (tmp_path / "other").mkdir()
        else None
    )
    assert other is None
    strange = certificate_for(replace(tls_config, data_dir=tmp_path / "other"))
    with pytest.raises(ConfigError, match="does not belong"):
        certificate_for(replace(tls_config, tls_cert=made.certificate, tls_key=strange.key))
    assert certificate_for(replace(tls_config, tls_cert=made.certificate, tls_key=made.key)).ca is None


def test_an_expired_certificate_is_refused(tls_config: Config) -> None:
    made = certificate_for(tls_config)
    given = replace(tls_config, tls_cert=made.certificate, tls_key=made.key)
    with (
        time_machine.travel(now() + timedelta(days=100), tick=False),
        pytest.raises(ConfigError, match="expired"),
    ):
        certificate_for(given)
