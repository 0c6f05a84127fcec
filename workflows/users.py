"""Accounts and memberships: who may sign in, and what he is where. Admins act; nobody acts on himself."""

import re
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from backend.adapters import passwords
from backend.core import listen
from backend.core.errors import Conflict, Forbidden, Invalid, NotVisible
from backend.core.identity import Actor
from backend.core.ids import new_id
from backend.core.paging import Page, page, text_and_id
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import OfficerKind, RevokeReason, Role, UserState
from backend.models import Area, Department, Membership, User
from workflows import access, journal, sessions, shifts, towns
from workflows.machine import Machine, step

MANAGERS = access.GRANTS[("manage", "user")]
USER = Machine(
    "user",
    UserState.ACTIVE,
    #    action     from                  to                  by        stamps
    step("disable", {UserState.ACTIVE}, UserState.DISABLED, MANAGERS, "disabled_at"),
    step("enable", {UserState.DISABLED}, UserState.ACTIVE, MANAGERS),
)
WHOLE_TOWN = frozenset({Role.ADMIN, Role.AUDITOR})
"""Roles that are held in the whole town and nowhere below: they act on accounts and journals, which have no area."""

LOGIN = re.compile(r"[a-z0-9][a-z0-9._-]{2,39}")


def actions(actor: Actor, user: User) -> list[str]:
    """Return what the actor may do with an account now; with his own, nothing that touches his rights."""
    if not access.may(actor, "manage", "user"):
        return []
    if actor.user_id == user.id:
        return ["change", "end_session"]
    password = ["set_password"] if user.login is not None else []
    return ["change", *password, "grant", "end_membership", "end_session", *USER.actions(actor, user)]


def page_of(
    uow: UnitOfWork,
    actor: Actor,
    *,
    words: str | None,
    role: Role | None,
    after: Sequence[str] | None,
    limit: int,
) -> Page[User]:
    """Return the town's accounts by name, those found by words of name or login, those of one role."""
    access.require_in_whole_town(uow, actor, "see", "user")
    query = select(User).order_by(User.display_name, User.id).limit(limit + 1)
    if words:
        query = query.where(
            or_(
                User.display_name.icontains(words, autoescape=True),
                User.login.icontains(words, autoescape=True),
            )
        )
    if role is not None:
        query = query.where(
            User.id.in_(
                select(Membership.user_id).where(Membership.role == role, Membership.ended_at.is_(None))
            )
        )
    if key := text_and_id(after):
        name, user_id = key
        query = query.where(or_(User.display_name > name, (User.display_name == name) & (User.id > user_id)))
    return page(list(uow.session.scalars(query)), limit, lambda u: (u.display_name, u.id))


def memberships_of(uow: UnitOfWork, user_ids: Sequence[UUID]) -> dict[UUID, list[Membership]]:
    """Return the memberships that hold, by user, with their areas and departments."""
    found: dict[UUID, list[Membership]] = {user_id: [] for user_id in user_ids}
    rows = uow.session.scalars(
        select(Membership)
        .where(Membership.user_id.in_(user_ids), Membership.ended_at.is_(None))
        .options(joinedload(Membership.area), joinedload(Membership.department))
        .order_by(Membership.granted_at, Membership.id)
    )
    for membership in rows:
        found[membership.user_id].append(membership)
    return found


def create(
    uow: UnitOfWork,
    actor: Actor,
    *,
    command_id: UUID,
    display_name: str,
    login: str | None,
    password_hash: str | None,
    phone: str | None,
    locale: str,
) -> User:
    """Make an account without any rights; memberships give it those.

    Args:
        password_hash: of its first password (:func:`hash_first`), for an account with a login.

    Raises:
        Conflict: ``login_taken`` or ``phone_taken``.
    """
    access.require_in_whole_town(uow, actor, "manage", "user")
    user = User(
        id=new_id(),
        town_id=uow.town,
        login=login,
        phone=phone,
        display_name=display_name,
        password_hash=password_hash,
        state=USER.initial,
        version=1,
        locale=locale,
        skills=[],
        created_at=uow.now,
    )
    uow.session.add(user)
    _flush_or_conflict(uow)
    journal.write(uow, actor, "user", user.id, "create", after=str(USER.initial), command_id=command_id)
    return user


def hash_first(login: str | None, display_name: str, password: str | None) -> str | None:
    """Return the hash of a new account's password, or None for an account that has neither login nor password.

    Hashing takes long, so it is done before the unit of work is opened, which would hold a connection meanwhile.

    Raises:
        Invalid: the login or the password is not acceptable.
    """
    if login is None and password is None:
        return None
    if login is None or password is None:
        raise Invalid("Login and password belong together.", password=["needed with login"])
    check_login(login)
    return hash_new(login, display_name, password)


def hash_new(login: str, display_name: str, password: str) -> str:
    """Return the hash of a password that an admin gives to an account; as :func:`hash_first`, before a unit of work.

    Raises:
        Invalid: ``weak_password``.
    """
    passwords.check_strength(password, login, display_name)
    return passwords.hash_password(password)


def names_of(uow: UnitOfWork, user_id: UUID) -> tuple[str | None, str] | None:
    """Return the login and the name that a new password must not be made of; None when there is no such account."""
    found = uow.session.execute(select(User.login, User.display_name).where(User.id == user_id)).one_or_none()
    return None if found is None else (found.login, found.display_name)


def check_login(login: str) -> None:
    """Refuse a login that is not 3 to 40 small letters, digits, dots, dashes and underscores."""
    if not LOGIN.fullmatch(login):
        raise Invalid(
            "A login has 3 to 40 small letters, digits, dots, dashes or underscores.", login=["not a login"]
        )


def _flush_or_conflict(uow: UnitOfWork) -> None:
    try:
        uow.session.flush()
    except IntegrityError as error:
        code = "phone_taken" if "uq_users_town_phone" in str(error.orig) else "login_taken"
        raise Conflict(code, "Somebody else has this already.") from error


def change(
    uow: UnitOfWork,
    actor: Actor,
    user_id: UUID,
    *,
    command_id: UUID,
    display_name: str | None,
    locale: str | None,
    password_hash: str | None,
    skills: Sequence[str] | None = None,
) -> User:
    """Change an account's name, language or skills, or give it a new password (:func:`hash_new`), which ends its
    sessions.
    """
    user = access.user(uow, actor, user_id, verb="manage", lock=True)
    if display_name is not None:
        user.display_name = display_name
    if locale is not None:
        user.locale = locale
    if password_hash is not None:
        _not_oneself(actor, user_id)
        if user.login is None:
            raise Invalid("This account has no login.", password=["no login"])
        user.password_hash = password_hash
        sessions.revoke_all(uow, actor, user.id, RevokeReason.PASSWORD, command_id=command_id)
    if skills is not None:
        user.skills = sorted(set(skills))
    given = {"display_name": display_name, "locale": locale, "password": password_hash, "skills": skills}
    changed = [name for name, value in given.items() if value is not None]
    journal.write(uow, actor, "user", user.id, "change", command_id=command_id, data={"fields": changed})
    return user


def disable(uow: UnitOfWork, actor: Actor, user_id: UUID, *, command_id: UUID, reason: str) -> User:
    """Shut an account: no sign-in any more, its sessions end everywhere, and so does its shift (P21)."""
    _not_oneself(actor, user_id)
    user = access.user(uow, actor, user_id, verb="manage", lock=True)
    if USER.fire(uow, actor, user, "disable", command_id=command_id, reason=reason):
        sessions.revoke_all(uow, actor, user.id, RevokeReason.DISABLED, command_id=command_id)
        uow.session.flush()
        shifts.end_without_right(uow, user.id, command_id=command_id, reason="account_disabled")
    return user


def enable(uow: UnitOfWork, actor: Actor, user_id: UUID, *, command_id: UUID) -> User:
    """Open a shut account again."""
    _not_oneself(actor, user_id)
    user = access.user(uow, actor, user_id, verb="manage", lock=True)
    if USER.fire(uow, actor, user, "enable", command_id=command_id):
        user.disabled_at = None
    return user


def reset_totp(uow: UnitOfWork, actor: Actor, user_id: UUID, *, command_id: UUID) -> User:
    """Take the authenticator off an account whose owner lost it; its sessions end everywhere."""
    _not_oneself(actor, user_id)
    user = access.user(uow, actor, user_id, verb="manage", lock=True)
    user.totp_enabled_at = user.totp_secret = user.totp_last_step = None
    sessions.revoke_all(uow, actor, user.id, RevokeReason.BY_ADMIN, command_id=command_id)
    journal.write(uow, actor, "user", user.id, "reset_totp", command_id=command_id)
    return user


def _no_auditor_and_actor(uow: UnitOfWork, user: User, role: Role) -> None:
    held = set(
        uow.session.scalars(
            select(Membership.role).where(Membership.user_id == user.id, Membership.ended_at.is_(None))
        )
    )
    doing = (access.STAFF | {Role.OFFICER}) - {Role.AUDITOR}
    if (role is Role.AUDITOR and held & doing) or (role in doing and Role.AUDITOR in held):
        raise Conflict("roles_exclude", "An auditor holds no other office in the town.")


def grant(
    uow: UnitOfWork,
    actor: Actor,
    user_id: UUID,
    *,
    command_id: UUID,
    role: Role,
    area_id: UUID | None,
    department_id: UUID | None,
    officer_kind: OfficerKind | None,
) -> Membership:
    """Bind a user to a role within an area or a department.

    Admins and auditors are so in the whole town; for them the area may be left out.

    Raises:
        Forbidden: ``not_to_oneself``; another admin has to do it.
        Invalid: the role and its scope do not fit.
        Conflict: ``already_member``; ``roles_exclude``, who looks after the others does nothing that is looked after.
    """
    _not_oneself(actor, user_id)
    user = access.user(uow, actor, user_id, verb="manage", lock=True)
    _no_auditor_and_actor(uow, user, role)
    if role in WHOLE_TOWN:
        root_id = towns.root_of(uow)
        area_id = area_id or root_id
        if area_id != root_id:
            raise Invalid("Admins and auditors act in the whole town.", area_id=["not the whole town"])
    if role in access.STAFF and user.login is None:
        raise Invalid(
            "Staff sign in with a login and a password, and this account has none.", role=["needs a login"]
        )
    if role is Role.SYSTEM:
        raise Invalid("This role is not given to people.", role=["not for people"])
    if (role is Role.OFFICER) != (officer_kind is not None):
        raise Invalid(
            "An officer has a kind, and nobody else has.", officer_kind=["needed for officers only"]
        )
    if (role is Role.HANDLER) != (department_id is not None) or (role is Role.HANDLER) == (
        area_id is not None
    ):
        raise Invalid(
            "A handler belongs to a department, everybody else to an area.", area_id=["does not fit the role"]
        )
    if area_id is not None and uow.session.get(Area, area_id) is None:
        raise NotVisible()
    if department_id is not None and uow.session.get(Department, department_id) is None:
        raise NotVisible()
    same = select(Membership.id).where(
        Membership.user_id == user.id,
        Membership.role == role,
        Membership.ended_at.is_(None),
        Membership.area_id.is_not_distinct_from(area_id),
        Membership.department_id.is_not_distinct_from(department_id),
    )
    if uow.session.scalar(same) is not None:
        raise Conflict("already_member", "The person has this role there already.")
    membership = Membership(
        id=new_id(),
        town_id=uow.town,
        user_id=user.id,
        role=role,
        area_id=area_id,
        department_id=department_id,
        officer_kind=officer_kind,
        granted_by=actor.user_id,
        granted_at=uow.now,
    )
    uow.session.add(membership)
    uow.session.flush()
    journal.write(
        uow, actor, "membership", membership.id, "grant", after="held", command_id=command_id,
        data={"user_id": str(user.id), "role": role, "area_id": str(area_id) if area_id else None},
    )  # fmt: skip
    _announce(uow, user.id)
    return membership


def end_membership(uow: UnitOfWork, actor: Actor, membership_id: UUID, *, command_id: UUID) -> Membership:
    """End a membership; what its holder could see, he cannot see from the commit on, nor be seen on a shift by it."""
    membership = access.membership(uow, actor, membership_id, verb="manage", lock=True)
    _not_oneself(actor, membership.user_id)
    if membership.ended_at is None:
        membership.ended_at = uow.now
        journal.write(
            uow, actor, "membership", membership.id, "end", before="held", after="ended", command_id=command_id,
            data={"user_id": str(membership.user_id), "role": membership.role},
        )  # fmt: skip
        _announce(uow, membership.user_id)
        if membership.role == Role.OFFICER:
            uow.session.flush()
            shifts.end_without_right(
                uow, membership.user_id, command_id=command_id, reason="membership_ended"
            )
    return membership


def _announce(uow: UnitOfWork, user_id: UUID) -> None:
    """Tell caches and sockets of every process that this user's rights are to be read again."""
    uow.notify(listen.SESSIONS, {"session_id": None, "user_id": user_id})


def _not_oneself(actor: Actor, user_id: UUID) -> None:
    if actor.user_id == user_id:
        raise Forbidden("not_to_oneself", "Nobody changes his own rights; another admin has to do it.")
