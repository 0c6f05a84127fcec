"""``xungeng simulate``: the command in front of the simulated phones. What is heavy is imported when it runs."""

from __future__ import annotations

import json
import os
import ssl
from pathlib import Path

import click

from backend.core.config import Config, ConfigError

PROTOCOLS = (
    "officer", "osmand", "osmand-query", "osmand-form", "osmand-json", "owntracks", "overland", "gpslogger",
)  # fmt: skip
"""What phones can speak; ``osmand`` is a mixture of its three generations."""


@click.command("simulate")
@click.option(
    "--officers", default=24, show_default=True, type=click.IntRange(1, 10_000), help="How many phones."
)
@click.option(
    "--interval",
    "interval_s",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0.2, 3600),
    help="Seconds between two fixes of a phone.",
)
@click.option(
    "--protocol",
    default="mixed",
    show_default=True,
    type=click.Choice(["mixed", *PROTOCOLS]),
    help="What the phones speak; osmand is a mixture of its three generations.",
)
@click.option("--duration", "duration_s", type=click.FloatRange(1), help="Stop after so many seconds.")
@click.option("--url", help="Where the installation is; default: this machine, on $PORT.")
@click.option("--seed", default=1, show_default=True, help="The same seed walks the same ways.")
@click.option(
    "--mishaps",
    "mishap_factor",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 100),
    help="How often things go wrong (gaps, outages, duplicates, jumps); 0: never.",
)
@click.option(
    "--accounts",
    "accounts_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Whose phones.",
)
@click.option("--quiet", is_flag=True, help="Say only what goes wrong.")
def command(
    officers: int,
    interval_s: float,
    protocol: str,
    duration_s: float | None,
    url: str | None,
    seed: int,
    mishap_factor: float,
    accounts_file: Path | None,
    quiet: bool,
) -> None:
    """Let simulated officers walk the demo town and report over HTTP like real phones."""
    from backend.demo import accounts as demo
    from backend.demo.phones import able, simulate
    from backend.demo.receiver import Mishaps

    config = Config.from_env()
    path = accounts_file or demo.path(config)
    try:
        accounts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError(f"There is no demo town in {config.data_dir}: start script/server once.") from None
    base_url = url or f"{'https' if config.tls else 'http'}://localhost:{config.port}"
    known = len(able(accounts.get("officers", []), officers))
    if not known:
        raise ConfigError(f"{path} holds no officers who can sign in.")
    if known < officers:
        click.echo(f"Only {known} officers of the town have a sign-in; simulating {known}.", err=True)
    tally = simulate(
        base_url,
        accounts,
        officers=known,
        interval_s=interval_s,
        protocol=protocol,
        duration_s=duration_s,
        seed=seed,
        mishaps=Mishaps().scaled(mishap_factor),
        keep=path.with_name(demo.phones_path(config).name) if os.access(path.parent, os.W_OK) else None,
        tls=_trust(config) if base_url.startswith("https:") else None,
        quiet=quiet,
    )
    if not quiet:
        click.echo(f"\n{tally.delivered} fixes delivered in {tally.requests} requests.")


def _trust(config: Config) -> ssl.SSLContext:
    """Trust the installation's own CA beside those of the system."""
    context = ssl.create_default_context()
    for candidate in (os.environ.get("XUNGENG_CA_FILE"), config.data_dir / "tls" / "ca.crt"):
        if candidate and Path(candidate).is_file():
            context.load_verify_locations(candidate)
    return context
