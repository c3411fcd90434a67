"""Alembic, with SQLAlchemy's reflection: 1,000 tables as its metadata, and versions with `op` calls."""

import logging
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy.dialects.postgresql import JSONB

from benchmarks.migrations import CHANGED, TABLES, VERSIONS
from database_handler import DatabaseConfig

ENVIRONMENT = """
from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
"""


def metadata(*, changed: bool) -> sa.MetaData:
    """Return the large schema; changed, every tenth table has a column more, or one that may not be NULL."""
    found = sa.MetaData()
    for number in range(TABLES):
        odd = changed and number % (TABLES // CHANGED) == 0
        extra = [sa.Column("extra", sa.Text)] if odd and number % 20 == 0 else []
        sa.Table(
            f"t_{number:04}",
            found,
            sa.Column("id", sa.Uuid, primary_key=True),
            sa.Column("parent_id", sa.Uuid, sa.ForeignKey(f"t_{number // 2:04}.id")),
            sa.Column("name", sa.Text, nullable=False),
            sa.Column("slug", sa.Text, nullable=False),
            sa.Column("note", sa.Text, nullable=not (odd and not extra)),
            sa.Column("amount", sa.BigInteger),
            sa.Column("share", sa.Double),
            sa.Column("active", sa.Boolean, nullable=False),
            sa.Column("details", JSONB),
            sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.func.now()),
            *extra,
            sa.Index(f"t_{number:04}_parent_idx", "parent_id"),
            sa.Index(f"t_{number:04}_slug_idx", "slug", unique=True),
            sa.Index(f"t_{number:04}_made_idx", "active", "made_at"),
        )
    return found


def engine(config: DatabaseConfig) -> sa.Engine:
    """Return an engine without a pool: each call connects, as ours does."""
    return sa.create_engine(
        "postgresql+psycopg2://", connect_args=config.connect_arguments(), poolclass=sa.NullPool
    )


def create(config: DatabaseConfig, *, changed: bool) -> None:
    """Make the tables."""
    metadata(changed=changed).create_all(engine(config), checkfirst=False)


class Tool:
    """Alembic as a program calls it."""

    name: ClassVar[str] = "Alembic"

    def __init__(self) -> None:
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self._wanted = {changed: metadata(changed=changed) for changed in (False, True)}
        self._config = Config()

    def read(self, config: DatabaseConfig) -> int:
        found = sa.MetaData()
        found.reflect(engine(config))
        return len(found.tables)

    def compare(self, config: DatabaseConfig, *, changed: bool) -> int:
        with engine(config).connect() as connection:
            context = MigrationContext.configure(connection)
            found: list[Any] = compare_metadata(context, self._wanted[changed])
        # A changed column comes as a list of one tuple, an addition as a tuple: (what, schema, table, ...).
        return len({(each[0] if isinstance(each, list) else each)[2] for each in found})

    def write_versions(self, folder: Path) -> None:
        (folder / "versions").mkdir()
        (folder / "env.py").write_text(ENVIRONMENT, encoding="utf-8")
        for number in range(1, VERSIONS + 1):
            (folder / "versions" / f"r{number:04}.py").write_text(_version(number), encoding="utf-8")
        self._config.set_main_option("script_location", str(folder).replace("%", "%%"))

    def migrate(self, config: DatabaseConfig) -> None:
        with engine(config).connect() as connection:
            self._config.attributes["connection"] = connection
            command.upgrade(self._config, "head")
            connection.commit()


def _version(number: int) -> str:
    below = f'"r{number - 1:04}"' if number > 1 else "None"
    table = f"step_{(number - 1) // 2}"
    if number % 2:
        up = (
            f'op.create_table("{table}", sa.Column("id", sa.BigInteger, primary_key=True), '
            'sa.Column("name", sa.Text, nullable=False))'
        )
        down = f'op.drop_table("{table}")'
    else:
        up = (
            f'op.add_column("{table}", sa.Column("note", sa.Text))\n'
            f'    op.create_index("{table}_note_idx", "{table}", ["note"])'
        )
        down = f'op.drop_column("{table}", "note")'
    return (
        "import sqlalchemy as sa\nfrom alembic import op\n\n"
        f'revision = "r{number:04}"\ndown_revision = {below}\n\n\n'
        f"def upgrade():\n    {up}\n\n\ndef downgrade():\n    {down}\n"
    )
