"""Who acts: the actor that every workflow takes as an argument."""

from dataclasses import dataclass, field
from uuid import UUID

from backend.core.vocabulary import OfficerKind, Role


@dataclass(frozen=True, slots=True)
class Membership:
    """A role within an area (and everything below it) or a department."""

    role: Role
    area_id: UUID | None = None
    department_id: UUID | None = None
    officer_kind: OfficerKind | None = None


@dataclass(frozen=True, slots=True)
class Actor:
    """A signed-in person, or the system. What one may do follows from ``memberships`` alone (``workflows.access``)."""

    user_id: UUID | None
    town_id: UUID
    session_id: UUID | None = None
    memberships: tuple[Membership, ...] = ()
    roles: frozenset[Role] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "roles", frozenset(m.role for m in self.memberships))

    def areas(self, *roles: Role) -> tuple[UUID, ...]:
        """Areas in which the actor holds one of ``roles``."""
        return tuple(m.area_id for m in self.memberships if m.role in roles and m.area_id is not None)


def system_actor(town_id: UUID) -> Actor:
    """Return the actor that stands for clocks and rules in a town."""
    return Actor(user_id=None, town_id=town_id, memberships=(Membership(Role.SYSTEM),))
