"""Each server that the settings name is connected to once: who is let in, over TLS or not, or why not."""

from time import monotonic

from pydantic import BaseModel

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.exceptions import DatabaseHandlerError
from database_handler.core.session import Limits, Statement
from database_handler.core.transaction import Autocommit, TransactionOptions
from database_handler.utils.arguments import checked

__all__ = ["Reached", "reach"]

_ASK = Statement(
    "SELECT current_user::text, split_part(current_setting('server_version'), ' ', 1), pg_is_in_recovery(), "
    "coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)",
    "reach",
)


class Reached(BaseModel, frozen=True):
    """What became of one connection.

    Attributes
    ----------
    what : str
        ``database``, ``migrations``, or ``replica 1`` and so on.
    url : str
        Where to, its password hidden.
    user, server_version, standby, tls
        What the server says; None where it was not reached.
    error : str or None
        Why not; safe to show.
    """

    what: str
    url: str
    seconds: float
    user: str | None = None
    server_version: str | None = None
    standby: bool | None = None
    tls: bool | None = None
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the server let us in and answered."""
        return self.error is None


@checked
def reach(config: DatabaseConfig) -> tuple[Reached, ...]:
    """Connect to the database, to where migrations go, and to each replica; each within ``connect_timeout``.

    It never raises for what a server does.
    """
    places = {"database": config}
    if config.migration_url is not None:
        places["migrations"] = config.for_migrations()
    places |= {f"replica {number}": replica for number, replica in enumerate(config.replicas(), 1)}
    return tuple(_reached(what, place) for what, place in places.items())


def _reached(what: str, config: DatabaseConfig) -> Reached:
    began, url, seconds = monotonic(), config.url(), config.connect_timeout
    options, limits = TransactionOptions(statement_timeout=seconds), Limits(deadline=seconds)
    try:
        row = Autocommit(lambda: dedicated(config), options, limits).session.one(_ASK)
    except DatabaseHandlerError as failure:
        told = f"{type(failure).__name__}: {failure}"
        return Reached(what=what, url=url, seconds=round(monotonic() - began, 3), error=told)
    user, version, standby, tls = row
    return Reached(
        what=what,
        url=url,
        seconds=round(monotonic() - began, 3),
        user=user,
        server_version=version,
        standby=standby,
        tls=tls,
    )
