"""Signing in and staying signed in: passwords, one-time codes, sessions, refresh tokens.

A session is one sign-in on one device. Its refresh token is used once and replaced; a used one that comes back means
that somebody else has it, and ends the whole session. Only hashes are stored.

Passwords are verified by the caller, between two units of work: the first reads the stored hash, and the second, given
the hash that matched, makes sure that it is still the account's.
"""

import base64
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pyotp
from cryptography.fernet import Fernet, InvalidToken
from sqlalchemy import and_, func, select, text, update
from sqlalchemy.orm import joinedload

from backend.adapters import passwords
from backend.core import listen
from backend.core.addresses import network_of
from backend.core.config import Config
from backend.core.errors import Forbidden, Invalid, Unauthenticated
from backend.core.identity import Actor
from backend.core.identity import Membership as HeldMembership
from backend.core.ids import new_id
from backend.core.metrics import REFRESH_REUSES, SIGN_INS
from backend.core.phones import is_served
from backend.core.tokens import AccessTokens, RefreshTokens, derive_key, secret_hash
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import AreaKind, Client, OfficerKind, RevokeReason, Role, UserState
from backend.models import Area, LoginCode, Membership, RefreshToken, Session, Town, User
from workflows import access, journal
from workflows.throttling import Bound

RACE_TOLERANCE = timedelta(seconds=10)
CODE_ATTEMPTS = 5
CODE_DIGITS = 6
TOUCH_AFTER = timedelta(minutes=1)


@dataclass(frozen=True)
class Origin:
    """Where a sign-in comes from; ``device_key`` is a secret that the client keeps for itself."""

    address: str | None
    client: Client = Client.OTHER
    device_name: str | None = None
    device_key: str | None = None

    @property
    def network(self) -> str:
        """What tries are counted by."""
        return network_of(self.address)


@dataclass(frozen=True)
class SignedIn:
    """What a sign-in or a refresh gives out."""

    access_token: str
    expires_in_s: int
    refresh_token: str
    session_id: UUID
    actor: Actor


class Sessions:
    """The acts of signing in, with the keys of the installation."""

    def __init__(self, config: Config) -> None:
        self.tokens = AccessTokens(config.secret_key, config.access_ttl_s)
        self._refresh_tokens = RefreshTokens(config.secret_key)
        self._refresh_ttl = timedelta(seconds=config.refresh_ttl_s)
        self._code_ttl = timedelta(seconds=config.otp_ttl_s)
        self._code_prefixes = config.code_prefixes
        self._code_key = derive_key(config.secret_key, "one-time-code")
        self._device_key = derive_key(config.secret_key, "device-key")
        self._totp_box = Fernet(_urlsafe(derive_key(config.secret_key, "totp")))

    # -- staff: login and password ---------------------------------------------------------------------------------

    def sign_in_bounds(self, uow: UnitOfWork, login: str, origin: Origin) -> tuple[list[Bound], list[Bound]]:
        """Return the bounds on guessing this account's password, and those of them that a right guess takes back.

        A device that has signed in to the account before is not stopped by others' guesses at the account.
        """
        account = login.casefold()[:200]
        pair = Bound(("login", account, origin.network), 8, timedelta(minutes=15))
        by_address = Bound(("login-address", origin.network), 120, timedelta(hours=1))
        if self._is_known_device(uow, login, origin):
            return [Bound(("login-device", account, origin.device_key or ""), 8, timedelta(minutes=15))], []
        return [pair, by_address, Bound(("login-account", account), 60, timedelta(hours=1))], [pair]

    def _is_known_device(self, uow: UnitOfWork, login: str, origin: Origin) -> bool:
        if not origin.device_key:
            return False
        town_id = uow.session.scalar(text("select town_of_login(:login)"), {"login": login})
        if town_id is None:
            return False
        uow.enter_town(town_id)
        return bool(
            uow.session.scalar(
                select(Session.id)
                .join(User, User.id == Session.user_id)
                .where(
                    func.lower(User.login) == login.lower(),
                    Session.device_key_hash == self._keyed(origin.device_key),
                )
                .where(Session.revoked_at.is_(None), Session.expires_at > uow.now)
                .limit(1)
            )
        )

    @staticmethod
    def stored_password(uow: UnitOfWork, login: str) -> str | None:
        """Return the hash that a login's password has to match, or None when there is no such account."""
        town_id = uow.session.scalar(text("select town_of_login(:login)"), {"login": login})
        if town_id is None:
            return None
        uow.enter_town(town_id)
        return uow.session.scalar(select(User.password_hash).where(func.lower(User.login) == login.lower()))

    def sign_in(
        self, uow: UnitOfWork, login: str, matched: str, totp: str | None, origin: Origin
    ) -> SignedIn:
        """Sign in by login and password, and by the TOTP code where the account has one.

        Args:
            matched: the stored hash that the password was found to match; it has to be the account's still.

        Raises:
            Unauthenticated: ``invalid_credentials`` for all that is wrong, ``totp_required`` when only the code lacks.
        """
        town_id = uow.session.scalar(text("select town_of_login(:login)"), {"login": login})
        user = None
        if town_id is not None:
            uow.enter_town(town_id)
            user = uow.session.scalar(
                select(User).where(func.lower(User.login) == login.lower()).with_for_update()
            )
        if user is None or user.password_hash != matched or user.state != UserState.ACTIVE:
            raise wrong_credentials()
        if user.totp_enabled_at is not None:
            if not totp:
                raise Unauthenticated("totp_required", "Please add the code of your authenticator.")
            self._use_totp(uow, user, totp)
        return self._open(uow, user, origin)

    def _use_totp(self, uow: UnitOfWork, user: User, code: str) -> None:
        """Accept each code once, at most one step of 30 s off."""
        generator = pyotp.TOTP(self._open_totp(user))
        step = int(uow.now.timestamp()) // 30
        for candidate in (step, step - 1, step + 1):
            if hmac.compare_digest(generator.at(candidate * 30), code.strip()) and candidate > (
                user.totp_last_step or 0
            ):
                user.totp_last_step = candidate
                return
        SIGN_INS.labels("refused").inc()
        raise Unauthenticated("invalid_credentials", "The code is wrong or was used before.")

    def _open_totp(self, user: User) -> str:
        try:
            return self._totp_box.decrypt((user.totp_secret or "").encode()).decode()
        except InvalidToken as error:
            raise Unauthenticated(
                "invalid_credentials", "The authenticator has to be set up again."
            ) from error

    # -- residents: phone and one-time code ------------------------------------------------------------------------

    def require_served(self, phone: str) -> None:
        """Refuse a phone that codes are not sent to.

        Raises:
            Invalid: ``phone_not_served``.
        """
        if not is_served(phone, self._code_prefixes):
            raise Invalid("Codes are not sent to such a number.", "phone_not_served", phone=["not_served"])

    @staticmethod
    def code_bounds(phone: str, origin: Origin) -> list[Bound]:
        """Return the bounds on asking for codes: they cost money, and somebody's phone rings."""
        return [
            Bound(("code-phone-minute", phone), 1, timedelta(minutes=1)),
            Bound(("code-phone-hour", phone), 5, timedelta(hours=1)),
            Bound(("code-phone-day", phone), 10, timedelta(days=1)),
            Bound(("code-address", origin.network), 30, timedelta(hours=1)),
        ]

    @staticmethod
    def code_guess_bounds(phone: str, origin: Origin) -> list[Bound]:
        """Return the bounds on guessing codes, over all codes of a phone."""
        return [
            Bound(("guess-phone", phone), 20, timedelta(hours=1)),
            Bound(("guess-address", origin.network), 120, timedelta(hours=1)),
        ]

    def make_code(self, uow: UnitOfWork, phone: str) -> str:
        """Store a new one-time code for a phone and return it; the caller sends it after the commit."""
        code = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}d}"
        uow.session.execute(
            update(LoginCode)
            .where(LoginCode.phone == phone, LoginCode.used_at.is_(None))
            .values(used_at=uow.now)
        )
        uow.session.add(
            LoginCode(
                id=new_id(),
                town_id=uow.town,
                phone=phone,
                code_hash=self._code_hash(phone, code),
                created_at=uow.now,
                expires_at=uow.now + self._code_ttl,
                attempts=0,
            )
        )
        return code

    def check_code(self, uow: UnitOfWork, phone: str, code: str) -> bool:
        """Use up the phone's code if it is right; count the attempt if it is not."""
        found = uow.session.scalar(
            select(LoginCode)
            .where(LoginCode.phone == phone, LoginCode.used_at.is_(None), LoginCode.expires_at > uow.now)
            .order_by(LoginCode.created_at.desc())
            .limit(1)
            .with_for_update()
        )
        if found is None or found.attempts >= CODE_ATTEMPTS:
            return False
        found.attempts += 1
        if not hmac.compare_digest(found.code_hash, self._code_hash(phone, code)):
            return False
        found.used_at = uow.now
        return True

    def sign_in_resident(self, uow: UnitOfWork, phone: str, origin: Origin, locale: str) -> SignedIn:
        """Sign in the resident of a phone whose code was right; a new phone makes a resident of the town.

        An account with a login or a password is opened by those, and by its authenticator, and never by a code: who
        can read somebody's short messages would else pass both. A person who is a resident as well signs in with them.

        Raises:
            Unauthenticated: ``invalid_code``, as for a wrong code, when the account is of that kind or disabled.
        """
        user = uow.session.scalar(select(User).where(User.phone == phone).with_for_update())
        if user is None:
            user = self._new_resident(uow, phone, locale)
        has_own_sign_in = user.login is not None or user.password_hash is not None
        if has_own_sign_in or user.state != UserState.ACTIVE:
            SIGN_INS.labels("refused").inc()
            raise wrong_code()
        return self._open(uow, user, origin)

    def _new_resident(self, uow: UnitOfWork, phone: str, locale: str) -> User:
        town_area = uow.session.scalars(select(Area.id).where(Area.kind == AreaKind.TOWN)).first()
        user = User(
            id=new_id(),
            town_id=uow.town,
            phone=phone,
            display_name=f"居民{phone[-4:]}",
            state=UserState.ACTIVE,
            locale=locale,
            created_at=uow.now,
        )
        uow.session.add(user)
        uow.session.flush()
        if town_area is not None:
            uow.session.add(
                Membership(
                    id=new_id(),
                    town_id=uow.town,
                    user_id=user.id,
                    role=Role.RESIDENT,
                    area_id=town_area,
                    granted_at=uow.now,
                )
            )
            uow.session.flush()
        return user

    # -- the session -----------------------------------------------------------------------------------------------

    def _open(self, uow: UnitOfWork, user: User, origin: Origin) -> SignedIn:
        memberships = held(uow, user.id)
        session = Session(
            id=new_id(),
            town_id=uow.town,
            user_id=user.id,
            client=origin.client,
            device_name=(origin.device_name or "")[:120] or None,
            device_key_hash=self._keyed(origin.device_key) if origin.device_key else None,
            address=origin.address,
            created_at=uow.now,
            last_used_at=uow.now,
            expires_at=uow.now + self._refresh_ttl,
        )
        uow.session.add(session)
        uow.session.flush()
        actor = Actor(user.id, uow.town, session.id, memberships)
        journal.write(
            uow, actor, "session", session.id, "sign_in", after="open", data={"client": origin.client}
        )
        SIGN_INS.labels("accepted").inc()
        return self._give(
            uow, session, self._issue(uow, session, self._refresh_tokens.first(session.id)), actor
        )

    @staticmethod
    def _issue(uow: UnitOfWork, session: Session, token: str) -> str:
        uow.session.add(
            RefreshToken(
                token_hash=secret_hash(token), town_id=uow.town, session_id=session.id, issued_at=uow.now
            )
        )
        return token

    def _give(self, uow: UnitOfWork, session: Session, refresh_token: str, actor: Actor) -> SignedIn:
        access_token = self.tokens.make(session.user_id, uow.town, session.id, uow.now)
        return SignedIn(access_token, self.tokens.ttl_s, refresh_token, session.id, actor)

    def session_named_by(self, refresh_token: str) -> UUID:
        """Return the session whose refresh is to be counted, without asking the database.

        Raises:
            Unauthenticated: the token is none of ours.
        """
        session_id = self._refresh_tokens.session_of(refresh_token)
        if session_id is None:
            raise session_ended()
        return session_id

    def refresh(self, uow: UnitOfWork, refresh_token: str, device_key: str | None) -> SignedIn | None:
        """Replace a refresh token; return None when it was used before, having revoked the session.

        Two tabs of one device may ask at once: within ten seconds, and with the session's own device key, a used token
        gets the same successor again, so that of however many askers one chain lives on. The caller turns None into a
        refusal after the commit, so that the revocation stays.

        Raises:
            Unauthenticated: the token is unknown, or its session has ended.
        """
        hashed = secret_hash(refresh_token)
        town_id = uow.session.scalar(text("select town_of_refresh_token(:hash)"), {"hash": hashed})
        if town_id is None:
            raise session_ended()
        uow.enter_town(town_id)
        link = uow.session.get_one(RefreshToken, hashed)
        session = uow.session.get_one(Session, link.session_id, with_for_update=True)
        uow.session.refresh(link)
        user = uow.session.get_one(User, session.user_id)
        if session.revoked_at is not None or session.expires_at <= uow.now or user.state != UserState.ACTIVE:
            raise session_ended()
        if link.used_at is not None and not self._is_race(uow, session, link, device_key):
            REFRESH_REUSES.inc()
            revoke(uow, Actor(None, uow.town), session, RevokeReason.REUSED, command_id=None)
            return None
        successor = self._refresh_tokens.successor(refresh_token, session.id)
        if link.used_at is None:
            link.used_at = uow.now
            self._issue(uow, session, successor)
        else:
            successor = self._unused(uow, session, successor)
        session.last_used_at, session.expires_at = uow.now, uow.now + self._refresh_ttl
        return self._give(uow, session, successor, Actor(user.id, uow.town, session.id, held(uow, user.id)))

    def _unused(self, uow: UnitOfWork, session: Session, token: str) -> str:
        """Return the end of the chain that the token is in: another tab may have gone on already."""
        while uow.session.get_one(RefreshToken, secret_hash(token)).used_at is not None:
            token = self._refresh_tokens.successor(token, session.id)
        return token

    def _is_race(self, uow: UnitOfWork, session: Session, link: RefreshToken, device_key: str | None) -> bool:
        if link.used_at is None or uow.now - link.used_at > RACE_TOLERANCE:
            return False
        if not device_key or session.device_key_hash is None:
            return False
        return hmac.compare_digest(session.device_key_hash, self._keyed(device_key))

    # -- the account's own settings --------------------------------------------------------------------------------

    def change_password(
        self, uow: UnitOfWork, actor: Actor, matched: str, new_hash: str, *, command_id: UUID
    ) -> None:
        """Set a new password and end every other session of the account.

        Args:
            matched: the stored hash that the present password was found to match.
            new_hash: of the new one (``OwnPassword.hash_new``).
        """
        user = access.oneself(uow, actor, lock=True)
        if user.password_hash != matched:
            raise wrong_password()
        user.password_hash = new_hash
        revoke_all(uow, actor, user.id, RevokeReason.PASSWORD, command_id=command_id, keep=actor.session_id)
        journal.write(uow, actor, "user", user.id, "change_password", command_id=command_id)

    def begin_totp(self, uow: UnitOfWork, actor: Actor, matched: str, *, command_id: UUID) -> tuple[str, str]:
        """Make a new TOTP secret and return it with its ``otpauth`` URI; it counts once a code was confirmed.

        The password is asked again (``matched`` is the stored hash of it): who found an open session must not be able
        to shut its owner out.
        """
        user = access.oneself(uow, actor, lock=True)
        if user.password_hash != matched:
            raise wrong_password()
        if user.totp_enabled_at is not None:
            raise Invalid("The authenticator is set up already; switch it off first.", "totp_enabled")
        secret = pyotp.random_base32()
        user.totp_secret = self._totp_box.encrypt(secret.encode()).decode()
        journal.write(uow, actor, "user", user.id, "begin_totp", command_id=command_id)
        return secret, pyotp.TOTP(secret).provisioning_uri(
            name=user.login or user.display_name, issuer_name="Xungeng"
        )

    def confirm_totp(self, uow: UnitOfWork, actor: Actor, code: str, *, command_id: UUID) -> None:
        """Switch the authenticator on, if the code shows that it was set up."""
        user = access.oneself(uow, actor, lock=True)
        if user.totp_secret is None or user.totp_enabled_at is not None:
            raise Invalid("There is nothing to confirm.", "totp_not_begun")
        try:
            self._use_totp(uow, user, code)
        except Unauthenticated as error:
            raise Invalid("The code is wrong.", "wrong_code", code=["wrong"]) from error
        user.totp_enabled_at = uow.now
        journal.write(uow, actor, "user", user.id, "enable_totp", command_id=command_id)

    def disable_totp(self, uow: UnitOfWork, actor: Actor, matched: str, *, command_id: UUID) -> None:
        """Switch the authenticator off; the password is asked again, and ``matched`` is the stored hash of it."""
        user = access.oneself(uow, actor, lock=True)
        if user.password_hash != matched:
            raise wrong_password()
        user.totp_enabled_at = user.totp_secret = user.totp_last_step = None
        journal.write(uow, actor, "user", user.id, "disable_totp", command_id=command_id)

    def _keyed(self, value: str) -> bytes:
        return hmac.digest(self._device_key, value.encode("utf-8", "surrogatepass"), "sha256")

    def _code_hash(self, phone: str, code: str) -> str:
        return hmac.digest(self._code_key, f"{phone}:{code}".encode("utf-8", "surrogatepass"), "sha256").hex()


@dataclass(frozen=True)
class OwnPassword:
    """What proving the password of one's own account needs; nothing of it needs a transaction."""

    stored: str | None
    login: str | None
    display_name: str

    def match(self, password: str) -> str:
        """Return the stored hash, if the password matches it.

        Raises:
            Forbidden: ``wrong_password``.
        """
        if self.stored is None or not passwords.matches(self.stored, password):
            raise wrong_password()
        return self.stored

    def hash_new(self, password: str) -> str:
        """Return the hash of a new password.

        Raises:
            Invalid: ``weak_password``.
        """
        passwords.check_strength(password, self.login or "", self.display_name, field="new")
        return passwords.hash_password(password)


def own_password(uow: UnitOfWork, user_id: UUID) -> OwnPassword:
    """Return what an account's password is proved with."""
    user = uow.session.get_one(User, user_id)
    return OwnPassword(user.password_hash, user.login, user.display_name)


def wrong_credentials() -> Unauthenticated:
    """Count a refused sign-in and return the one refusal for all that can be wrong with it."""
    SIGN_INS.labels("refused").inc()
    return Unauthenticated("invalid_credentials", "Login or password is wrong.")


def wrong_password() -> Forbidden:
    """Return the refusal of who cannot say the password again."""
    return Forbidden("wrong_password", "The present password is wrong.")


def session_ended() -> Unauthenticated:
    """Return the refusal of a session that is over, or never was."""
    return Unauthenticated("session_ended", "Please sign in again.")


def wrong_code() -> Unauthenticated:
    """Return the one refusal for all that can be wrong with a one-time code."""
    return Unauthenticated("invalid_code", "The code is wrong or has run out.")


def reauthentication_bounds(user_id: UUID) -> list[Bound]:
    """Return the bounds on guessing from within a session, whose holder may not be the account's owner."""
    return [Bound(("reauthentication", str(user_id)), 8, timedelta(minutes=15))]


def actor_of(uow: UnitOfWork, user_id: UUID, session_id: UUID) -> Actor:
    """Return who holds a session, with the memberships as they are now.

    Raises:
        Unauthenticated: the session was revoked, has run out, or its user was disabled.
    """
    # One question, because every request asks it: the session, its user, and a row for each membership he holds.
    rows = uow.session.execute(
        select(
            Session.revoked_at,
            Session.expires_at,
            Session.last_used_at,
            User.state,
            Membership.role,
            Membership.area_id,
            Membership.department_id,
            Membership.officer_kind,
        )
        .join(User, User.id == Session.user_id)
        .outerjoin(Membership, and_(Membership.user_id == User.id, Membership.ended_at.is_(None)))
        .where(Session.id == session_id, Session.user_id == user_id)
        .order_by(Membership.granted_at)
    ).all()
    row = rows[0] if rows else None
    if (
        row is None
        or row.revoked_at is not None
        or row.expires_at <= uow.now
        or row.state != UserState.ACTIVE
    ):
        raise session_ended()
    if uow.now - row.last_used_at > TOUCH_AFTER:
        uow.session.execute(update(Session).where(Session.id == session_id).values(last_used_at=uow.now))
    return Actor(
        user_id, uow.town, session_id, _memberships(found for found in rows if found.role is not None)
    )


def held(uow: UnitOfWork, user_id: UUID) -> tuple[HeldMembership, ...]:
    """Return the memberships that a user holds now."""
    rows = uow.session.execute(
        select(Membership.role, Membership.area_id, Membership.department_id, Membership.officer_kind)
        .where(Membership.user_id == user_id, Membership.ended_at.is_(None))
        .order_by(Membership.granted_at)
    )
    return _memberships(rows)


def _memberships(rows: Iterable[Any]) -> tuple[HeldMembership, ...]:
    return tuple(
        HeldMembership(
            Role(r.role), r.area_id, r.department_id, OfficerKind(r.officer_kind) if r.officer_kind else None
        )
        for r in rows
    )


def own(uow: UnitOfWork, actor: Actor) -> list[Session]:
    """Return the open sessions of the actor, newest first; there are never many."""
    return _open_sessions(uow, actor.user_id)


def of_user(uow: UnitOfWork, actor: Actor, user_id: UUID) -> list[Session]:
    """Return the open sessions of somebody, for an admin."""
    return _open_sessions(uow, access.user(uow, actor, user_id).id)


def _open_sessions(uow: UnitOfWork, user_id: UUID | None) -> list[Session]:
    return list(
        uow.session.scalars(
            select(Session)
            .where(Session.user_id == user_id, Session.revoked_at.is_(None), Session.expires_at > uow.now)
            .order_by(Session.created_at.desc())
            .limit(200)
        )
    )


def revoke_own(uow: UnitOfWork, actor: Actor, session_id: UUID, *, command_id: UUID) -> None:
    """End one of the actor's own sessions."""
    session = access.own_session(uow, actor, session_id, lock=True)
    reason = RevokeReason.SIGNED_OUT if session.id == actor.session_id else RevokeReason.BY_OWNER
    revoke(uow, actor, session, reason, command_id=command_id)


def revoke_as_admin(uow: UnitOfWork, actor: Actor, session_id: UUID, *, command_id: UUID) -> None:
    """End somebody's session."""
    session = access.session(uow, actor, session_id, verb="manage", lock=True)
    revoke(uow, actor, session, RevokeReason.BY_ADMIN, command_id=command_id)


def revoke(
    uow: UnitOfWork, actor: Actor, session: Session, reason: RevokeReason, *, command_id: UUID | None
) -> None:
    """End a session everywhere: refresh, REST and sockets of every process.

    Without a command it is the system's own act, when a token comes back that was used.
    """
    if session.revoked_at is not None:
        return
    session.revoked_at, session.revoke_reason = uow.now, reason
    journal.write(
        uow, actor, "session", session.id, "revoke", before="open", after="revoked",
        command_id=command_id, reason=reason,
    )  # fmt: skip
    uow.notify(listen.SESSIONS, {"session_id": session.id, "user_id": session.user_id})


def revoke_all(
    uow: UnitOfWork,
    actor: Actor,
    user_id: UUID,
    reason: RevokeReason,
    *,
    command_id: UUID,
    keep: UUID | None = None,
) -> None:
    """End every session of a user, except perhaps the one that asks."""
    sessions: Iterable[Session] = uow.session.scalars(
        select(Session).where(Session.user_id == user_id, Session.revoked_at.is_(None)).with_for_update()
    )
    for session in sessions:
        if session.id != keep:
            revoke(uow, actor, session, reason, command_id=command_id)


def town_for_code(uow: UnitOfWork, code: str | None) -> UUID:
    """Return the town that a resident signs in to: the named one, or the only one there is."""
    query = select(Town.id).where(Town.code == code) if code else select(Town.id)
    found = list(uow.session.scalars(query.limit(2)))
    if len(found) != 1:
        raise Invalid("Please say which town.", "town_needed", town=["needed"])
    return found[0]


def me(uow: UnitOfWork, actor: Actor) -> tuple[User, Town, list[Membership]]:
    """Return the actor's account, town and memberships with their areas and departments."""
    user = uow.session.get_one(User, actor.user_id)
    town = uow.session.get_one(Town, uow.town)
    memberships = uow.session.scalars(
        select(Membership)
        .where(Membership.user_id == actor.user_id, Membership.ended_at.is_(None))
        .options(joinedload(Membership.area), joinedload(Membership.department))
        .order_by(Membership.granted_at)
    )
    return user, town, list(memberships)


def forget_expired(
    uow: UnitOfWork, *, refresh_ttl: timedelta, keep: timedelta = timedelta(days=90)
) -> dict[str, int]:
    """Delete codes a day old, refresh tokens used long ago and sessions over long ago; return how many of each.

    A used token is kept as long as one lives unused, so that its coming back is known for what it is; after that it is
    as unknown as any other and opens nothing.
    """
    gone = {
        "codes": ("delete from login_codes where expires_at < :limit", timedelta(days=1)),
        "tokens": ("delete from refresh_tokens where used_at < :limit", refresh_ttl),
        "sessions": ("delete from sessions where coalesce(revoked_at, expires_at) < :limit", keep),
    }
    return {
        what: int(uow.session.execute(text(statement), {"limit": uow.now - age}).rowcount)  # type: ignore[attr-defined]
        for what, (statement, age) in gone.items()
    }


def _urlsafe(key: bytes) -> bytes:
    return base64.urlsafe_b64encode(key)
