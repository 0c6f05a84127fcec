"""The command line, ``xungeng``. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backend.cli_town import accounts, appraise, departments, export, import_, town
from backend.core.config import Config, ConfigError
from backend.demo.simulate import command as simulate

if TYPE_CHECKING:
    from sqlalchemy import Engine


class _Commands(click.Group):
    """Tells a wrong setting or a missing prerequisite in one sentence, without a stack trace."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except ConfigError as error:
            click.echo(f"xungeng: {error}", err=True)
            sys.exit(1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Xungeng 巡更: patrol and resident service of a town.

    Settings are environment variables: PORT, DATABASE_URL, XUNGENG_DATA, XUNGENG_DEMO and others (docs/operator.md).
    """


def tell_unknown_settings() -> None:
    """Say of each variable that looks like a setting and is none that it is not heeded; the start goes on."""
    for sentence in Config.unknown_in():
        click.echo(f"xungeng: {sentence}", err=True)


@contextmanager
def database(config: Config) -> Iterator[None]:
    """Have the private PostGIS running for one command: the server's, or one of its own while no server runs."""
    if not config.embedded:
        yield
        return
    from backend.embedded.cluster import Cluster, locked

    cluster = Cluster(config.data_dir)
    if cluster.answers():
        yield
        return
    busy = f"A server on {config.data_dir} is just starting or stopping; try again in a moment."
    with locked(config.data_dir / "serve.lock", busy):
        cluster.initialise()
        cluster.start()
        try:
            cluster.make_database()
            yield
        finally:
            cluster.stop()


def _has_cluster(config: Config) -> bool:
    from backend.embedded.cluster import Cluster

    return (Cluster(config.data_dir).cluster_dir / "PG_VERSION").exists()


@contextmanager
def opened(config: Config) -> Iterator[Engine]:
    """The database with its schema in place, as the application sees it, and units of work open on it."""
    from backend.core import db, logs, migrating, preflight
    from workflows import custody

    logs.configure(config, "commands")
    custody.use(config.custody_macs)
    if config.embedded and not _has_cluster(config):
        raise ConfigError(
            f"There is no installation in {config.data_dir}: start script/server, or say with XUNGENG_DATA where it is."
        )
    with database(config):
        preflight.check_server(config.owner_url)
        if migrating.current(config.owner_url) != migrating.head():
            raise ConfigError("The database has another schema than this version: run xungeng migrate up.")
        engine = db.engine_for(config, pool_size=2, bounds=db.JOBS)
        preflight.check_app(engine, config)
        db.set_engine(engine)
        try:
            yield engine
        finally:
            engine.dispose()


@cli.command()
@click.option(
    "--tls", is_flag=True, help="HTTPS, with a CA of the installation unless XUNGENG_TLS_CERT is set."
)
@click.option("--simulation/--no-simulation", default=True, help="Let simulated officers walk the demo town.")
def serve(tls: bool, simulation: bool) -> None:
    """Run everything: database, web, worker; until Ctrl-C."""
    from backend.serve import serve

    if tls:
        os.environ["XUNGENG_TLS"] = "1"  # The children read it, too.
    tell_unknown_settings()
    sys.exit(serve(Config.from_env(), simulate=simulation))


@cli.command()
def worker() -> None:
    """Run jobs and clocks. Any number of workers may run."""
    from backend import worker
    from backend.core import logs, preflight

    config = Config.from_env()
    logs.configure(config, "worker")
    preflight.await_app(config)
    worker.run(config)


@cli.command()
def web() -> None:
    """Run the web processes alone (XUNGENG_WEB_PROCESSES), for containers; `serve` does this and the rest."""
    from backend.core import preflight
    from backend.serve_children import web_command

    config = Config.from_env()
    tell_unknown_settings()
    preflight.await_app(config)
    _become(web_command(), config.web_processes)


@cli.command()
def ingest() -> None:
    """Run the ingest processes alone (XUNGENG_INGEST_PROCESSES): the hot routes on XUNGENG_INGEST_PORT."""
    from backend.core import preflight
    from backend.serve_children import ingest_command

    config = Config.from_env()
    if not config.ingest_processes:
        raise ConfigError("XUNGENG_INGEST_PROCESSES says how many; it is not set.")
    preflight.await_app(config)
    _become(ingest_command(config), config.ingest_processes)


def _become(command: list[str], processes: int) -> None:
    """Go on as another program, whose processes tell each other's figures."""
    import tempfile

    from backend.serve_children import shared_figures

    if processes > 1:
        folder = Path(tempfile.mkdtemp(prefix="xungeng-figures-"))
        os.environ.update(shared_figures(processes, folder))
    os.execv(command[0], command)


@cli.command(hidden=True)
def prepare() -> None:
    """Check and migrate the database, and fill an empty installation with the demo town: the start of ``serve``."""
    from backend.core import db, preflight
    from notifications import reach

    config = Config.from_env()
    reach.use(config.notices)
    preflight.check_server(config.owner_url)
    _migrate_up(config)
    engine = db.engine_for(config, pool_size=2)
    preflight.check_app(engine, config)
    if config.demo and preflight.is_empty(config.owner_url):
        _fill(config)
    engine.dispose()


def _migrate_up(config: Config) -> None:
    from backend.core import migrating

    before, head = migrating.current(config.owner_url), migrating.head()
    if before == head:
        return
    click.echo(f"Migrating the database from {before or 'nothing'} to {head} …")
    migrating.migrate(config.owner_url)


@cli.command()
@click.argument("direction", type=click.Choice(["up", "down", "status"]), default="status")
@click.option("--to", "target", help="A revision (up: head, down: one step back).")
@click.option("--yes", is_flag=True, help="Go down without asking: tables and their rows are dropped.")
def migrate(direction: str, target: str | None, yes: bool) -> None:
    """Bring the schema up or down, as the owner (DATABASE_OWNER_URL), or say where it stands."""
    from backend.core import migrating, preflight

    config = Config.from_env()
    with database(config):
        preflight.check_server(config.owner_url)
        if direction == "up":
            migrating.migrate(config.owner_url, "up", target)
        elif direction == "down":
            if not yes:
                click.confirm("Going down drops tables and the rows in them. Go on?", abort=True)
            migrating.migrate(config.owner_url, "down", target)
        current, head = migrating.current(config.owner_url), migrating.head()
    click.echo(
        f"at {current or 'nothing'}, newest {head}{'' if current == head else ': run xungeng migrate up'}"
    )
    if direction == "status" and current != head:
        sys.exit(3)


@cli.group()
def custody() -> None:
    """The custody log of evidence."""


@cli.command("verify", context_settings={"ignore_unknown_options": True})
@click.argument("bundle", type=click.Path(exists=True, dir_okay=False))
@click.argument("keys", nargs=-1)
def verify_bundle(bundle: str, keys: tuple[str, ...]) -> None:
    """Verify a bundle of evidence, as the verify.py that lies in it does; KEYS are public keys, hexadecimal."""
    from backend.adapters import bundle_verifier

    sys.exit(bundle_verifier.main([bundle, *keys]))


@custody.command("sign")
def sign_custody() -> None:
    """Sign now what was added to the log since the last minute, for a backup or a bundle that cannot wait."""
    from backend import worker

    config = Config.from_env()
    with opened(config):
        worker.sign_heads(config)


@custody.command("key")
def show_custody_key() -> None:
    """Print the public key that whoever is given a bundle needs; tell it by another way than with the bundle."""
    from backend.adapters import seals

    click.echo(seals.Signer(Config.from_env().custody_key).public.hex())


@custody.command("verify")
@click.option("--key", "keys", multiple=True, help="A public key whose heads are believed too, hexadecimal.")
def verify_custody(keys: tuple[str, ...]) -> None:
    """Verify every chain, every signed head, and what stands outside. Exit code 4: something does not hold."""
    from backend.adapters import seals
    from backend.core.uow import unit_of_work
    from workflows import custody_heads, upkeep

    config = Config.from_env()
    wrong = 0
    with opened(config):
        try:
            own = [seals.Signer(config.custody_key).public] if config.custody_key.exists() else []
            believed = [*own, *config.custody_keys, *(bytes.fromhex(key) for key in keys)]
        except ValueError as error:
            raise ConfigError(f"A key cannot be read: {error}.") from None
        outside = list(seals.Outside(config.custody_heads).read())
        if not believed:
            raise ConfigError(f"There is no key in {config.custody_key}; name the public key with --key.")
        for key in believed:
            click.echo(f"key           {key.hex()}")
        with unit_of_work() as uow:
            towns = upkeep.towns(uow)
        for town_id in towns:
            told = [one for one in outside if one.get("town") == str(town_id)]
            with unit_of_work(town_id) as uow:
                for found in custody_heads.verify(
                    uow, told, seals.is_signed, keys=believed, report=_say_verified
                ):
                    wrong += 1
                    of_item = f", item {found.evidence_id}, entry {found.place}" if found.evidence_id else ""
                    of_head = f" (head {found.head})" if found.head is not None else ""
                    click.echo(f"WRONG         {found.what}{of_head}{of_item}")
    click.echo(f"{wrong} wrong" if wrong else "all of it holds")
    if wrong:
        sys.exit(4)


def _say_verified(found: Any) -> None:
    window = (
        f", {found.open_entries} since {found.open_since:%Y-%m-%d %H:%M:%S} UTC under no head yet"
        if found.open_since
        else ""
    )
    click.echo(f"verified      {found.items} items, {found.entries} entries, {found.heads} heads{window}")


@cli.group()
def evidence() -> None:
    """Photos and recordings."""


@evidence.command("check")
def check_evidence() -> None:
    """Read every file again and compare it with what was sealed. Exit code 4: something is altered or missing."""
    from datetime import UTC, datetime

    from backend import worker
    from backend.adapters.storage import Folder
    from backend.core.uow import unit_of_work
    from workflows import upkeep

    config, began = Config.from_env(), datetime.now(UTC)
    files, bytes_read, wrong = 0, 0, 0
    with opened(config):
        with unit_of_work() as uow:
            towns = upkeep.towns(uow)
        for town_id in towns:
            for kept, damage in worker.check_town(town_id, Folder(config.evidence_dir), before=began):
                files, bytes_read = files + 1, bytes_read + kept.length
                if damage is not None:
                    wrong += 1
                    click.echo(f"{damage.upper():13} {kept.id}")
                if files % 500 == 0:
                    click.echo(f"checked       {files} so far, {bytes_read / 1e9:.1f} GB", err=True)
    click.echo(f"checked       {files} pieces, {bytes_read / 1e6:.1f} MB; {wrong} damaged")
    if wrong:
        sys.exit(4)


@cli.command()
def check() -> None:
    """Check settings, database and certificate without serving. Exit code 0: it would start."""
    from backend.core import preflight
    from notifications import reach

    config = Config.from_env()
    tell_unknown_settings()
    reach.use(config.notices)
    click.echo(f"mode          {'production' if config.production else 'development'}")
    click.echo(f"data folder   {config.data_dir}")
    with opened(config):
        click.echo(
            f"database      {preflight.place_of(config.database_url)}{' (private)' if config.embedded else ''}"
        )
    click.echo(f"notices       {', '.join(sorted(config.notices.configured)) or 'in the app alone'}")
    if config.tls:
        from backend.serve_tls import certificate_for

        click.echo(f"certificate   {certificate_for(config).certificate}")
    if config.redis_url:
        import redis

        try:
            redis.Redis.from_url(config.redis_url, socket_connect_timeout=5).ping()
        except redis.RedisError as error:
            raise ConfigError(f"Redis at XUNGENG_REDIS_URL cannot be used: {error}.") from None
        click.echo("redis         answers")
    click.echo("all in order")


@cli.command()
@click.option(
    "--out", type=click.Path(dir_okay=False, writable=True), help="A file; default: standard output."
)
def openapi(out: str | None) -> None:
    """Print the API's OpenAPI 3.1 document."""
    import json

    from backend.app import create_app
    from backend.core import logs

    config = Config.from_env()
    logs.configure(config, "commands")
    document = create_app(config).test_client().get("/api/v1/openapi.json").get_json()
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    if out:
        with open(out, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        click.echo(text, nl=False)


@cli.group()
def demo() -> None:
    """The demo town."""


def _fill(config: Config) -> None:
    from backend.demo.fill import fill

    click.echo("Filling the empty installation with the demo town …")
    fill(config, lambda what, step, steps: click.echo(f"  {step}/{steps} {what}"))


@demo.command("fill")
def demo_fill() -> None:
    """Fill an empty installation with the demo town."""
    from backend.core import preflight

    config = Config.from_env()
    with opened(config):
        if not preflight.is_empty(config.owner_url):
            raise ConfigError("This installation has a town already; xungeng demo reset empties it first.")
        _fill(config)


@demo.command("accounts")
@click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
def demo_accounts(as_json: bool) -> None:
    """Show how to sign in to the demo town: of each role a few."""
    import json

    from backend.demo.accounts import accounts, listed

    found = accounts(Config.from_env())
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=1))
        return
    click.echo("\n".join(listed(found)))


@demo.command("reset")
@click.option("--yes", is_flag=True, help="Do not ask.")
def demo_reset(yes: bool) -> None:
    """Empty the installation and fill it with the demo town anew (the accounts change)."""
    from backend.core import migrating
    from backend.demo.accounts import path

    config = Config.from_env()
    if config.production:
        raise ConfigError("A production installation is not reset.")
    if not yes:
        click.confirm(f"Everything in the database of {config.data_dir} is deleted. Go on?", abort=True)
    with database(config):
        migrating.migrate(config.owner_url, "down", "base")
        migrating.migrate(config.owner_url)
        path(config).unlink(missing_ok=True)
        with opened(config):
            _fill(config)


for _command in (accounts, appraise, town, departments, import_, export, simulate):
    cli.add_command(_command)


def main() -> None:
    """The entry of ``script/xungeng``."""
    cli(prog_name="xungeng")


if __name__ == "__main__":
    main()
