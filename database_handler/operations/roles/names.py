"""The names of the five roles; they are the whole server's, so each database has its own."""

from typing import Annotated, Final, Literal, Self, get_args

from pydantic import AfterValidator, Field

from database_handler.config.configuration import Configuration
from database_handler.config.values import Identifier
from database_handler.core.quoting import LONGEST_NAME
from database_handler.utils.arguments import checked
from database_handler.utils.errors import ConfigurationError

__all__ = ["LOGINS", "PARTS", "Login", "Part", "RoleNames"]

Part = Literal["owner", "migrator", "application", "read_only", "backup"]
Login = Literal["migrator", "application", "read_only", "backup"]
PARTS: Final[tuple[Part, ...]] = get_args(Part)
LOGINS: Final[tuple[Login, ...]] = get_args(Login)

_ENDS: Final = {
    "owner": "owner",
    "migrator": "migrator",
    "application": "app",
    "read_only": "read",
    "backup": "backup",
}
# Words that stand for a role of the server's choice, where a role's name is wanted.
_TAKEN: Final = frozenset({"public", "none", "current_user", "current_role", "session_user"})


def _role(name: str) -> str:
    if name.lower().startswith("pg_"):
        raise ValueError("names that begin with pg_ are the server's own")
    if name.lower() in _TAKEN:
        raise ValueError("that word stands for something else where a role is named")
    return name


RoleName = Annotated[Identifier, AfterValidator(_role)]
_ALLOWED: Final = (
    f"a name of 1 to {LONGEST_NAME} bytes without control characters, which the server has not taken"
)


class RoleNames(Configuration, frozen=True):
    """What the five roles of a database are called.

    Attributes
    ----------
    owner : str
        Owns all there is; nobody logs in as it.
    migrator : str
        Logs in to run migrations, as the owner.
    application : str
        Reads and writes rows.
    read_only : str
        Reads rows.
    backup : str
        Reads everything, whatever row-level security says.
    """

    owner: RoleName = Field(description=_ALLOWED)
    migrator: RoleName = Field(description=_ALLOWED)
    application: RoleName = Field(description=_ALLOWED)
    read_only: RoleName = Field(description=_ALLOWED)
    backup: RoleName = Field(description=_ALLOWED)

    def _check(self) -> None:
        names = [self.of(part) for part in PARTS]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigurationError(f"{twice[0]!r} is the name of two roles; each part has one of its own")

    @classmethod
    @checked
    def with_prefix(cls, prefix: str, **names: str) -> Self:
        """Give ``<prefix>_owner``, ``_migrator``, ``_app``, ``_read`` and ``_backup``, but for those named.

        >>> RoleNames.with_prefix("films").application
        'films_app'
        """
        if not prefix or prefix.lower().startswith("pg_"):
            raise ConfigurationError(
                "prefix: one to begin names of roles with is wanted (prefix=, --prefix), and not pg_, which "
                "is the server's own"
            )
        made = {part: f"{prefix}_{end}" for part, end in _ENDS.items()}
        return cls.model_validate(made | names)

    def of(self, part: Part) -> str:
        """Return the name of one."""
        name: str = getattr(self, part)
        return name

    def part_of(self, name: str) -> Part | None:
        """Return which of the five has a name; None for any other role."""
        return next((part for part in PARTS if self.of(part) == name), None)

    @property
    def all(self) -> tuple[str, ...]:
        """The five names, in the order of the parts."""
        return tuple(self.of(part) for part in PARTS)
