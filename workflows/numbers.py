"""Short numbers that people say: counted up per town and kind, without gaps, next to the UUID."""

from sqlalchemy.dialects.postgresql import insert

from backend.core.uow import UnitOfWork
from backend.models import Number


def next_number(uow: UnitOfWork, kind: str) -> int:
    """Return the next number of ``kind``; it is taken when the transaction commits, and free again if it does not.

    Two that ask at once get different ones: the second waits for the first one's commit.
    """
    taken = insert(Number).values(town_id=uow.town, kind=kind, last=1)
    taken = taken.on_conflict_do_update(
        index_elements=[Number.town_id, Number.kind], set_={"last": Number.last + 1}
    )
    return uow.session.execute(taken.returning(Number.last)).scalar_one()
