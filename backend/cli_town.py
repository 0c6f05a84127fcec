"""The commands about one town: accounts, the town itself, and what is brought in from files.

Whoever may run them has the data folder's keys, so they act with an admin's rights; the journal shows them without an
actor. In an installation of several towns ``--town CODE`` names the one.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backend.core.config import Config, ConfigError
from backend.core.vocabulary import LOCALES

if TYPE_CHECKING:
    from uuid import UUID

    from backend.core.identity import Actor
    from backend.core.uow import UnitOfWork
    from backend.models import User

town_option = click.option("--town", "town_code", help="The town's code, if the installation has several.")


@contextmanager
def installation() -> Iterator[None]:
    """The installation's database, and refusals in one sentence."""
    from backend.cli import opened

    with opened(Config.from_env()), told():
        yield


@contextmanager
def in_town(town_code: str | None) -> Iterator[tuple[UnitOfWork, Actor]]:
    """The installation, a unit of work in the town, and the operator as its admin."""
    with installation(), unit_in_town(town_code) as both:
        yield both


@contextmanager
def unit_in_town(town_code: str | None) -> Iterator[tuple[UnitOfWork, Actor]]:
    """A unit of work in a town of the installation, and the operator as its admin."""
    from backend.core.identity import Actor, Membership
    from backend.core.uow import unit_of_work
    from backend.core.vocabulary import Role
    from workflows import towns

    with unit_of_work() as uow:
        town = towns.find(uow, town_code)
        if town is None:
            raise ConfigError(
                "There is no such town: name one of several with --town, or make one with xungeng town create."
            )
        root = towns.root_of(uow)
        roles = (Role.ADMIN, Role.SUPERVISOR)
        yield uow, Actor(None, town.id, None, tuple(Membership(role, root) for role in roles))


@contextmanager
def told() -> Iterator[None]:
    """A refusal as the one sentence that a command ends with."""
    from backend.core.errors import Refusal

    try:
        yield
    except Refusal as refusal:
        raise ConfigError(f"{refusal.detail} ({refusal.code})") from None


def user_by_login(uow: UnitOfWork, login: str) -> User:
    """The account of a login (any case)."""
    from sqlalchemy import func, select

    from backend.models import User

    user = uow.session.scalar(select(User).where(func.lower(User.login) == login.lower()))
    if user is None:
        raise ConfigError(f"Nobody has the login {login}.")
    return user


def new_command_id() -> UUID:
    """The id of this press of Enter in the journal."""
    from backend.core.ids import new_id

    return new_id()


def on_account(act: Callable[..., None]) -> Callable[..., None]:
    """A command on the account of the argument LOGIN."""

    @click.argument("login")
    @town_option
    @wraps(act)
    def command(login: str, town_code: str | None, **options: Any) -> None:
        with in_town(town_code) as (uow, actor):
            act(uow, actor, user_by_login(uow, login), **options)

    return command


@click.group()
def accounts() -> None:
    """Staff accounts: make, list, shut, and help those locked out."""


@accounts.command("list")
@click.option("--json", "as_json", is_flag=True)
@town_option
def accounts_list(as_json: bool, town_code: str | None) -> None:
    """Everybody who signs in with a login, with roles."""
    from sqlalchemy import select

    from backend.models import User
    from workflows.users import memberships_of

    with in_town(town_code) as (uow, _actor):
        users = list(uow.session.scalars(select(User).where(User.login.is_not(None)).order_by(User.login)))
        held = memberships_of(uow, [user.id for user in users])
        rows: list[dict[str, Any]] = [
            {
                "id": str(user.id), "login": user.login, "display_name": user.display_name, "state": str(user.state),
                "totp": user.totp_enabled_at is not None, "roles": sorted({str(m.role) for m in held[user.id]}),
            }
            for user in users
        ]  # fmt: skip
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    for row in rows:
        marks = " ".join(
            filter(None, [row["state"] if row["state"] != "active" else "", "totp" if row["totp"] else ""])
        )
        click.echo(f"{row['login']:<24}{','.join(row['roles']):<28}{row['display_name']}  {marks}".rstrip())


@accounts.command("create")
@click.argument("login")
@click.option("--name", "display_name", required=True, help="As colleagues see it.")
@click.option(
    "--role",
    type=click.Choice(["officer", "handler", "dispatcher", "supervisor", "admin", "auditor"]),
    required=True,
)
@click.option(
    "--area",
    "area_code",
    help="Code of the area (default: the whole town; admins and auditors have no other).",
)
@click.option(
    "--department", "department_kind", help="For handlers: the department's kind, for example police."
)
@click.option("--officer-kind", help="For officers: police, auxiliary, patrol, guard or volunteer.")
@click.option("--phone")
@click.option("--locale", type=click.Choice(LOCALES), default=LOCALES[0])
@click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input; default: make one."
)
@town_option
def accounts_create(
    login: str,
    display_name: str,
    role: str,
    area_code: str | None,
    department_kind: str | None,
    officer_kind: str | None,
    phone: str | None,
    locale: str,
    password_stdin: bool,
    town_code: str | None,
) -> None:
    """Make an account with one role and print its password."""
    from sqlalchemy import select

    from backend.core.vocabulary import OfficerKind, Role
    from backend.models import Area, Department
    from workflows import users as workflow

    password = sys.stdin.readline().rstrip("\n") if password_stdin else new_password()
    kind = _one_of(OfficerKind, officer_kind, "--officer-kind") if officer_kind else None
    with installation():
        hashed = workflow.hash_first(login, display_name, password)
        with unit_in_town(town_code) as (uow, actor):
            area_id = department_id = None
            if role == Role.HANDLER:
                found = uow.session.scalar(
                    select(Department.id).where(Department.kind == (department_kind or "")).limit(1)
                )
                if found is None:
                    raise ConfigError(
                        "A handler needs --department with the kind of a department of the town."
                    )
                department_id = found
            else:
                wanted = Area.code == area_code if area_code else Area.parent_id.is_(None)
                area_id = uow.session.scalar(select(Area.id).where(wanted))
                if area_id is None:
                    raise ConfigError(f"The town has no area with the code {area_code}.")
            user = workflow.create(
                uow, actor, command_id=new_command_id(), display_name=display_name, login=login,
                password_hash=hashed, phone=phone, locale=locale,
            )  # fmt: skip
            workflow.grant(
                uow, actor, user.id, command_id=new_command_id(), role=Role(role), area_id=area_id,
                department_id=department_id, officer_kind=kind,
            )  # fmt: skip
    click.echo(f"{login}  {'(password as given)' if password_stdin else password}")


@accounts.command("password")
@click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input; default: make one."
)
@click.argument("login")
@town_option
def accounts_password(login: str, password_stdin: bool, town_code: str | None) -> None:
    """Give an account a new password; its sessions end."""
    from workflows import users as workflow

    password = sys.stdin.readline().rstrip("\n") if password_stdin else new_password()
    with installation():
        with unit_in_town(town_code) as (uow, _actor):
            user = user_by_login(uow, login)
        hashed = workflow.hash_new(user.login or "", user.display_name, password)
        with unit_in_town(town_code) as (uow, actor):
            workflow.change(
                uow, actor, user.id, command_id=new_command_id(), display_name=None, locale=None,
                password_hash=hashed,
            )  # fmt: skip
    click.echo("(password as given)" if password_stdin else password)


@accounts.command("disable")
@click.option("--reason", required=True, help="Stands in the journal.")
@on_account
def accounts_disable(uow: UnitOfWork, actor: Actor, user: User, reason: str) -> None:
    """Shut an account; its sessions end everywhere."""
    from workflows import users as workflow

    workflow.disable(uow, actor, user.id, command_id=new_command_id(), reason=reason)


@accounts.command("enable")
@on_account
def accounts_enable(uow: UnitOfWork, actor: Actor, user: User) -> None:
    """Open a shut account again."""
    from workflows import users as workflow

    workflow.enable(uow, actor, user.id, command_id=new_command_id())


@accounts.command("totp-reset")
@on_account
def accounts_totp_reset(uow: UnitOfWork, actor: Actor, user: User) -> None:
    """Take the authenticator off an account whose owner lost it; its sessions end."""
    from workflows import users as workflow

    workflow.reset_totp(uow, actor, user.id, command_id=new_command_id())


@accounts.command("unlock")
@click.option("--address", help="Forget the wrong tries from this address as well, e.g. the station's.")
@on_account
def accounts_unlock(uow: UnitOfWork, actor: Actor, user: User, address: str | None) -> None:
    """Forget the wrong tries at an account, so that its owner need not wait."""
    from backend.core.tokens import derive_key
    from workflows import journal
    from workflows.sessions import Origin, Sessions, reauthentication_bounds
    from workflows.throttling import Throttling

    config = Config.from_env()
    assert user.login is not None
    every, _pair = Sessions(config).sign_in_bounds(uow, user.login, Origin(address=address or "unknown"))
    Throttling(derive_key(config.secret_key, "throttling")).forget(
        uow, [*every, *reauthentication_bounds(user.id)]
    )
    journal.write(uow, actor, "user", user.id, "unlock", command_id=new_command_id())


def new_password() -> str:
    """Twenty characters without the look-alikes (0 O, 1 l I), in groups that can be read out."""
    letters = "abcdefghijkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(5)) for _ in range(4))


def _one_of(kinds: Any, value: str, option: str) -> Any:
    try:
        return kinds(value)
    except ValueError:
        raise ConfigError(f"{option} has to be one of {', '.join(kinds)}.") from None


# --- the town ---------------------------------------------------------------------------------------------------


@click.group()
def town() -> None:
    """The towns of the installation."""


@town.command("create")
@click.argument("code")
@click.option("--name-zh", required=True)
@click.option("--name-en", required=True)
@click.option(
    "--outline", type=click.Path(exists=True, dir_okay=False), required=True, help="GeoJSON polygon, WGS-84."
)
@click.option("--time-zone", default="Asia/Shanghai", show_default=True)
@click.option("--locale", type=click.Choice(LOCALES), default=LOCALES[0])
def town_create(code: str, name_zh: str, name_en: str, outline: str, time_zone: str, locale: str) -> None:
    """Make a town and its root area, whose outline is the town's."""
    from zoneinfo import available_timezones

    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    from backend.cli import opened
    from backend.core.uow import unit_of_work
    from workflows import areas

    if time_zone not in available_timezones():
        raise ConfigError(f"{time_zone} is not a time zone such as Asia/Shanghai.")
    config = Config.from_env()
    with opened(config), told():
        # Towns are the owner's: the application can neither make nor rename one.
        engine = create_engine(config.owner_url, poolclass=NullPool)
        with unit_of_work(engine=engine) as uow:
            areas.make_town(
                uow, code=code, name={"zh-CN": name_zh, "en": name_en}, time_zone=time_zone, locale=locale,
                outline=Path(outline).read_bytes(),
            )  # fmt: skip
    click.echo(f"{code}: next, xungeng accounts create LOGIN --role admin --name … --town {code}")


@town.command("task-kinds")
@town_option
def town_task_kinds(town_code: str | None) -> None:
    """Add the usual kinds of task that the town does not have; a new town begins with all of them."""
    from workflows import task_kinds

    with in_town(town_code) as (uow, actor):
        made = task_kinds.add_defaults(uow, actor)
    click.echo(f"{made} kinds of task made")


@town.command("list")
@click.option("--json", "as_json", is_flag=True)
def town_list(as_json: bool) -> None:
    """The towns, with how many areas, people and departments each has."""
    from backend.core.uow import unit_of_work
    from workflows import towns

    with installation():
        with unit_of_work() as uow:
            codes = towns.codes(uow)
        rows = []
        for code in codes:
            with unit_in_town(code) as (uow, _actor):
                rows.append(towns.summary(uow))
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    for row in rows:
        counts = f"{row['areas']} areas, {row['people']} people, {row['departments']} departments"
        click.echo(
            f"{row['code']:<24}{row['name']['zh-CN']}  {row['name']['en']}  {row['time_zone']}  {counts}"
        )


@click.group()
def departments() -> None:
    """The departments of a town, to which handlers belong."""


@departments.command("list")
@click.option("--json", "as_json", is_flag=True)
@town_option
def departments_list(as_json: bool, town_code: str | None) -> None:
    """The town's departments."""
    from workflows import towns

    with in_town(town_code) as (uow, actor):
        rows: list[dict[str, Any]] = [
            {"id": str(one.id), "kind": one.kind, "name": one.name} for one in towns.departments(uow, actor)
        ]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    for row in rows:
        click.echo(f"{row['kind']:<24}{row['name']['zh-CN']}  {row['name']['en']}")


@departments.command("create")
@click.argument("kind")
@click.option("--name-zh", required=True)
@click.option("--name-en", required=True)
@town_option
def departments_create(kind: str, name_zh: str, name_en: str, town_code: str | None) -> None:
    """Make the town's department of a kind: police, urban_management, grid_centre, property, fire, water, …"""
    from backend.core.vocabulary import DepartmentKind
    from workflows import towns

    wanted = _one_of(DepartmentKind, kind, "KIND")
    with in_town(town_code) as (uow, actor):
        towns.make_department(
            uow, actor, wanted, {"zh-CN": name_zh, "en": name_en}, command_id=new_command_id()
        )
    click.echo(f"{kind}: next, xungeng accounts create LOGIN --role handler --department {kind} --name …")


# --- files --------------------------------------------------------------------------------------------------------


@click.group("import")
def import_() -> None:
    """Bring in what exists: areas, roads, checkpoints and recorded tracks."""


@import_.command("gpx")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option("--officer", "login", help="Login of the officer who recorded it.")
@click.option("--name", help="What the desk calls the track; default: its name in the file.")
@town_option
def import_gpx(paths: tuple[str, ...], login: str | None, name: str | None, town_code: str | None) -> None:
    """Recorded tracks from GPX 1.1, kept apart from what shifts recorded. All files, or none of them."""
    from workflows import imported_tracks

    with in_town(town_code) as (uow, actor):
        officer_id = user_by_login(uow, login).id if login else None
        made = [
            (path, track)
            for path in paths
            for track in imported_tracks.import_gpx(
                uow,
                actor,
                Path(path).read_bytes(),
                command_id=new_command_id(),
                officer_id=officer_id,
                name=name,
            )
        ]
    for path, track in made:
        click.echo(f"{track.id}  {track.point_count} points  {track.name}  ({path})")


def import_ground(name: str) -> Callable[[Callable[..., Any]], None]:
    """A command that brings in one GeoJSON file of the town's ground with a function of ``workflows.areas``."""

    def made_of(act: Callable[..., Any]) -> None:
        @import_.command(name, help=act.__doc__)
        @click.argument("path", type=click.Path(exists=True, dir_okay=False))
        @town_option
        def command(path: str, town_code: str | None) -> None:
            with in_town(town_code) as (uow, actor):
                done = act(uow, actor, Path(path).read_bytes(), command_id=new_command_id())
            click.echo(f"{done.made} {name} made, {done.changed} changed")

    return made_of


@import_ground("areas")
def _areas(*arguments: Any, **options: Any) -> Any:
    """Areas from GeoJSON (WGS-84): each feature has code, kind, name_zh, name_en and the code of its parent.

    kind is community, compound, grid or building. Parents stand before their children or exist already. A code that
    exists gets the new outline and names; kind town with the town's code and no parent redraws the town.
    """
    from workflows import areas

    return areas.import_areas(*arguments, **options)


@import_ground("roads")
def _roads(*arguments: Any, **options: Any) -> Any:
    """All roads of the town from GeoJSON lines (WGS-84): each has code, kind, name_zh and name_en.

    kind is arterial, street, lane, path or water. The roads that the town had go.
    """
    from workflows import areas

    return areas.import_roads(*arguments, **options)


@import_.command("checkpoints")
@click.argument("path", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--format", "form", type=click.Choice(["geojson", "gpx", "csv"]), help="Default: as the file's name ends."
)
@click.option("--dry-run", is_flag=True, help="Say what each row would do, and keep nothing.")
@town_option
def import_checkpoints(path: str, form: str | None, dry_run: bool, town_code: str | None) -> None:
    """Checkpoints from GeoJSON points, GPX waypoints or CSV (UTF-8), WGS-84; each is in the area that holds it.

    Each has code, name_zh, name_en, and may have radius_m and min_dwell_s; CSV has lon and lat too. In GPX the name is
    the code, and the description the name. A code that exists gets the new place and names.
    """
    from geo.checkpoint_files import Format
    from workflows import checkpoints

    form = form or {".gpx": "gpx", ".csv": "csv"}.get(Path(path).suffix.lower(), "geojson")
    with in_town(town_code) as (uow, actor):
        done = checkpoints.import_file(
            uow, actor, Path(path).read_bytes(), Format(form), dry_run=dry_run, command_id=new_command_id()
        )
    if dry_run:
        for row in done.rows:
            click.echo(f"{row.outcome:9}  {row.reason or row.title}")
    would = "would be " if dry_run else ""
    click.echo(f"{done.made} checkpoints {would}made, {done.changed} {would}changed")


@click.group()
def export() -> None:
    """Give out what is stored, as files."""


@export.command("gpx")
@click.option("--track", "track_id", type=click.UUID, help="An imported track (its id), exactly as it came.")
@click.option("--officer", "login", help="Login of an officer: what his shifts recorded …")
@click.option("--from", "since", help="… from this moment, for example 2026-05-01T08:00+08:00 …")
@click.option("--to", "until", help="… to this one, at most 7 days later.")
@click.option("--reason", help="Why an officer's track is looked at. He can read it.")
@click.option(
    "--out", type=click.Path(dir_okay=False, writable=True), help="A file; default: standard output."
)
@town_option
def export_gpx(
    track_id: UUID | None,
    login: str | None,
    since: str | None,
    until: str | None,
    reason: str | None,
    out: str | None,
    town_code: str | None,
) -> None:
    """One track as GPX 1.1: an imported one, or an officer's over a time."""
    from workflows import imported_tracks, replays

    if (track_id is None) == (login is None):
        raise ConfigError("Say which track: --track ID, or --officer LOGIN with --from, --to and --reason.")
    span = None
    if login is not None:
        if not (since and until and reason and reason.strip()):
            raise ConfigError("An officer's track needs --from, --to and --reason.")
        span = _moment("--from", since), _moment("--to", until), reason.strip()
    if out and not os.access(Path(out).absolute().parent, os.W_OK):
        raise ConfigError(f"{out} cannot be written; nobody's track was looked at.")
    with in_town(town_code) as (uow, actor):
        if track_id is not None:
            _name, document = imported_tracks.export(uow, actor, track_id, reason=reason and reason.strip())
        elif login and span:
            document = replays.export(
                uow, actor, user_by_login(uow, login).id, since=span[0], until=span[1], reason=span[2]
            )
    # Nothing is given out before it is written down that it was.
    with click.open_file(out or "-", "wb") as file:
        file.write(document)


@export.command("labels")
@click.option(
    "--area", "area_code", help="Code of an area: its checkpoints and those below it. Default: the town."
)
@click.option("--url", help="Where phones reach this installation. Default: XUNGENG_PUBLIC_URL.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, writable=True), help="The PDF file.")
@town_option
def export_labels(area_code: str | None, url: str | None, out: str, town_code: str | None) -> None:
    """Labels of checkpoints to print and put up: PDF, A4, eight on a page, at most 200 of them."""
    from sqlalchemy import select

    from backend.adapters import labels as adapter
    from backend.models import Area
    from workflows import labels

    address = url or Config.from_env().public_url
    if not address:
        raise ConfigError(
            "A label says where phones reach this installation: set XUNGENG_PUBLIC_URL, or give --url."
        )
    if not os.access(Path(out).absolute().parent, os.W_OK):
        raise ConfigError(f"{out} cannot be written.")
    with installation():
        with unit_in_town(town_code) as (uow, actor):
            area_id = uow.session.scalar(select(Area.id).where(Area.code == area_code)) if area_code else None
            if area_code and area_id is None:
                raise ConfigError(f"There is no area with the code {area_code}.")
            found = labels.to_print(uow, actor, area_id=area_id, address=address.rstrip("/"))
        sheet = adapter.sheet(found)
    Path(out).write_bytes(sheet)
    click.echo(f"{len(found)} labels in {out}")


@click.command("appraise")
@click.argument("month")
@town_option
def appraise(month: str, town_code: str | None) -> None:
    """Begin the appraisal of a MONTH such as 2026-11, which the worker does by itself, and make its drafts at once."""
    from workflows import appraisal_clocks, appraisals

    try:
        first = datetime.strptime(month, "%Y-%m").date()  # noqa: DTZ007 (a month of the calendar, and no moment)
    except ValueError as error:
        raise ConfigError(f"{month} is no month such as 2026-11.") from error
    with installation():
        with unit_in_town(town_code) as (uow, actor):
            appraisals.begin(uow, actor, first, command_id=None)
        made = 0
        while done := _work_in(town_code, appraisal_clocks.make_drafts):
            made += done
        while _work_in(town_code, appraisal_clocks.add_up):
            pass
    # The last of them is what belongs to nobody in particular.
    click.echo(f"{made - 1} drafts of {month}")


def _work_in(town_code: str | None, act: Callable[[UnitOfWork], int]) -> int:
    with unit_in_town(town_code) as (uow, _):
        return act(uow)


def _moment(option: str, text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ConfigError(f"{option} has to be a moment with its offset, such as 2026-05-01T08:00+08:00.")
    return found.astimezone(UTC)
