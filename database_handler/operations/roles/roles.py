"""Plans the five roles of a database, checks them and brings them about, in one transaction or not at all."""

from collections.abc import Mapping

import psycopg2.extensions as driver
from pydantic import BaseModel

from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import ConfigurationError, InvalidValue, PermissionDenied
from database_handler.core.quoting import identifier, literal
from database_handler.core.session import Session, Statement
from database_handler.core.transaction import Transaction, TransactionOptions
from database_handler.migrations.runner.locking import Kept
from database_handler.migrations.runner.running import connected
from database_handler.operations.roles.found import Found, look
from database_handler.operations.roles.names import LOGINS, Login, RoleNames
from database_handler.operations.roles.plan import RoleConflict, RolePlan, RoleStatement, plan_roles
from database_handler.utils.arguments import checked
from database_handler.utils.errors import shown

__all__ = ["RoleConflicts", "Roles", "RolesCheck", "RolesReport"]

_LOOK = TransactionOptions(isolation="repeatable read", read_only=True)
# Bounded: tables are altered, and whoever comes after a waiting ALTER TABLE waits too.
_APPLY = TransactionOptions(lock_timeout=10.0, resolve=False)
_ALONE = Statement("SELECT pg_advisory_xact_lock(%s)", "roles.alone")
_KEY = 0x726F6C6573  # of the advisory lock; any number that nobody else takes
_LONGEST_PASSWORD = 1024  # characters


class RoleConflicts(ConfigurationError):
    """Roles that are there already may do more than their part needs; nothing was changed."""

    def __init__(self, conflicts: tuple[RoleConflict, ...]) -> None:
        told = "; ".join(f"{each.role} ({each.part}) {each.what}" for each in conflicts)
        super().__init__(
            f"{told}. Choose other names, or have it taken away (correct=True, --correct), which runs "
            f"{'; '.join(each.sql for each in conflicts)}. Nothing was changed"
        )
        self.conflicts = conflicts


class RolesCheck(RolePlan, frozen=True):
    """How the roles are: `differs`, and the statements that would put it right."""


class RolesReport(BaseModel, frozen=True):
    """What was run, in its order; passwords are not shown."""

    plan: RolePlan

    @property
    def changed(self) -> bool:
        """Whether anything was run."""
        return bool(self.plan.statements)


class Roles:
    """The roles of one database.

    Parameters
    ----------
    config : DatabaseConfig
        Who connects to make roles: a superuser, or a role with CREATEROLE that owns the database.
    names : RoleNames, optional
        What they are called; left out, the database's name with ``_owner``, ``_app`` and so on.
    schema : str, optional
        Where the tables are; the library's own schema when left out.
    """

    @checked
    def __init__(
        self, config: DatabaseConfig, names: RoleNames | None = None, *, schema: str | None = None
    ) -> None:
        self.config = config
        self.names = names or RoleNames.with_prefix(config.name)
        self.schema = schema

    @checked
    def plan(
        self,
        *,
        row_security: bool | None = None,
        correct: bool = False,
        passwords: Mapping[str, str] | None = None,
    ) -> RolePlan:
        """Return what `apply` with the same arguments would run; nothing is changed.

        Parameters
        ----------
        row_security : bool, optional
            Whether the application sees the rows of one project only; as it is when left out.
        correct : bool
            Take away what roles that are there already may do beside their part.
        passwords : mapping of str to str, optional
            New passwords by part: ``migrator``, ``application``, ``read_only``, ``backup``.
        """
        given = _checked_passwords(passwords or {})
        with connected(self.config, purpose="roles") as lease, Transaction(lambda: lease, _LOOK) as session:
            return plan_roles(
                self.names,
                self._look(session),
                row_security=row_security,
                correct=correct,
                passwords=list(given),
            )

    def check(self) -> RolesCheck:
        """Return what differs from the plan, with the statements that would put it right."""
        return RolesCheck(**dict(self.plan()))

    @checked
    def apply(
        self,
        agreed: RolePlan | None = None,
        *,
        row_security: bool | None = None,
        correct: bool = False,
        passwords: Mapping[str, str] | None = None,
    ) -> RolesReport:
        """Bring the roles about, all in one transaction; where they are as they should be, nothing is run.

        Parameters
        ----------
        agreed : RolePlan, optional
            The plan that was looked at: where it is not the plan any more, nothing is run.
        row_security, correct, passwords
            As for `plan`. A password is hashed here, as SCRAM-SHA-256: the server is never sent it.

        Raises
        ------
        RoleConflicts
            A role that is there already may do more than its part needs.
        ConfigurationError
            The plan is not the agreed one; or who connects is one of the five.
        PermissionDenied
            Who connects may not do one of the statements.
        """
        given = _checked_passwords(passwords or {})
        with connected(self.config, purpose="roles") as lease, Transaction(lambda: lease, _APPLY) as session:
            session.run(_ALONE, [_KEY])
            plan = plan_roles(
                self.names,
                self._asked(session),
                row_security=row_security,
                correct=correct,
                passwords=list(given),
            )
            _refuse(plan, agreed)
            for statement in plan.statements:
                hidden = statement.kind == "password"
                _run(session, statement, self._hidden(lease, given, statement) if hidden else statement.sql)
            self._verify(session, plan)
        return RolesReport(plan=plan)

    def _asked(self, session: Session) -> Found:
        found = self._look(session)
        if found.user in self.names.all:
            raise ConfigurationError(
                f"{found.user} is one of the five roles: an administrator makes them, a superuser or a role "
                "with CREATEROLE that owns the database"
            )
        return found

    def _look(self, session: Session) -> Found:
        return look(session, self.names, self.schema)

    def _verify(self, session: Session, plan: RolePlan) -> None:
        """Look again before it is made final: what was run must have brought it all about."""
        left = plan_roles(self.names, self._look(session), row_security=plan.row_security, correct=True)
        if left.statements:
            told = "; ".join(statement.sql for statement in left.statements[:5])
            raise ConfigurationError(
                f"the statements ran, and {len(left.statements)} would still be needed ({told}): what they "
                "change was granted by another role, which must take it back. Nothing was changed"
            )

    def _hidden(self, lease: Kept, passwords: Mapping[Login, str], statement: RoleStatement) -> str:
        """Return a statement with the hash of its password, which is made by libpq without a round trip."""
        name, password = next(
            (self.names.of(part), password)
            for part, password in passwords.items()
            if identifier(self.names.of(part)) in statement.sql
        )
        hashed = driver.encrypt_password(password, name, lease.connection, "scram-sha-256")
        return f"ALTER ROLE {identifier(name)} PASSWORD {literal(hashed)}"


def _run(session: Session, statement: RoleStatement, sql: str) -> None:
    try:
        session.run(Statement(sql, "roles.apply", writes=True))
    except PermissionDenied as error:
        refused = error
    else:
        return
    told = PermissionDenied(
        f"{refused}, for {statement.sql}: connect as a superuser, or as a role with CREATEROLE that owns the "
        "database and what is in it. Nothing was changed",
        sqlstate=refused.sqlstate,
    )
    told.driver_error = refused.driver_error
    raise told


def _refuse(plan: RolePlan, agreed: RolePlan | None) -> None:
    if plan.conflicts:
        raise RoleConflicts(plan.conflicts)
    if agreed is not None and agreed.statements != plan.statements:
        raise ConfigurationError(
            "the server has changed since the plan was made: look at the new one. Nothing was changed"
        )


def _checked_passwords(passwords: Mapping[str, str]) -> dict[Login, str]:
    found: dict[Login, str] = {}
    for part, password in passwords.items():
        if part not in LOGINS:
            raise InvalidValue(
                f"passwords: {shown(part)} has none; those that log in are {', '.join(LOGINS)}"
            )
        if not 1 <= len(password) <= _LONGEST_PASSWORD or not _can_be_typed(password):
            raise InvalidValue(
                f"passwords: {part}: 1 to {_LONGEST_PASSWORD} characters are allowed, none of them a control "
                "character"
            )
        found[part] = password
    return found


def _can_be_typed(password: str) -> bool:
    return not any(ord(each) < 32 or ord(each) == 127 or 0xD800 <= ord(each) < 0xE000 for each in password)
