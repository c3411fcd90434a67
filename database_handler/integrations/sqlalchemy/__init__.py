"""SQLAlchemy beside the repositories: a unit's transaction, the pool and the tables, in SQLAlchemy's terms.

`UnitOfWork.sqlalchemy` gives a Connection on the unit's own transaction, `Database.sqlalchemy_engine` an
Engine over the pool, and `metadata` the tables of the models.
"""

from database_handler.core.exceptions import MissingExtra

try:
    import sqlalchemy  # noqa: F401  # asked for here, so that no other module of the package need do so
except ImportError:
    raise MissingExtra("SQLAlchemy needs: pip install 'database-handler[sqlalchemy]'") from None

from database_handler.integrations.sqlalchemy.tables import metadata

__all__ = ["metadata"]
