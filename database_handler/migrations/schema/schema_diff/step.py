"""A statement while a plan is made: with what it lets go of and what it finishes, which place it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from database_handler.migrations.schema.schema_diff.deparsed import as_meant
from database_handler.migrations.schema.schema_diff.statement import Action, SchemaStatement
from database_handler.migrations.schema.snapshot import Kind, ObjectId

__all__ = ["EXTRA", "Step", "chained"]

EXTRA = frozenset({Action.COMMENT, Action.GRANT, Action.OWNER})
"""What nothing waits for: no object needs another's comment, privileges or owner."""
_NOTHING: frozenset[ObjectId] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One statement and its place among the others.

    Attributes
    ----------
    needs : frozenset of ObjectId
        It comes after every step that produces or settles one of these.
    produces, destroys : frozenset of ObjectId
        What is there only after it; what is there only before it.
    releases : frozenset of ObjectId
        What its object needed before, and does not hold back any more: it comes before the step that
        destroys one of these.
    settles : frozenset of ObjectId
        What it changes in place, so that whoever needs that comes after it.
    reshapes : frozenset of ObjectId
        What it changes so that nothing that is dropped may stand on it any more.
    wishes : frozenset of ObjectId
        As `needs`, but given up where it would make a circle (names in the text of a function).
    after : tuple of Step
        Steps of the same object that come first.
    frees, takes : frozenset of (space, name)
        Names beside those of the objects that it makes or destroys: freed before they are taken.
    """

    sql: str
    action: Action
    object: ObjectId
    needs: frozenset[ObjectId] = _NOTHING
    produces: frozenset[ObjectId] = _NOTHING
    destroys: frozenset[ObjectId] = _NOTHING
    releases: frozenset[ObjectId] = _NOTHING
    settles: frozenset[ObjectId] = _NOTHING
    reshapes: frozenset[ObjectId] = _NOTHING
    wishes: frozenset[ObjectId] = _NOTHING
    loses: str | None = None
    transactional: bool = True
    after: tuple["Step", ...] = ()
    frees: frozenset[tuple[str, str]] = frozenset()
    takes: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def alter(
        cls,
        sql: str,
        id: ObjectId,
        action: Action = Action.ALTER,
        needs: Iterable[ObjectId] = (),
        releases: Iterable[ObjectId] = (),
    ) -> "Step":
        """Return a step that changes an object in place."""
        settles = _NOTHING if action in EXTRA else frozenset({id})
        own = {id} if action in EXTRA else set[ObjectId]()
        return cls(
            sql,
            action,
            id,
            needs=frozenset({*needs, *own}),
            releases=frozenset(releases),
            settles=settles,
        )

    @classmethod
    def create(cls, sql: str, id: ObjectId, needs: Iterable[ObjectId] = ()) -> "Step":
        """Return a step that makes an object."""
        return cls(sql, Action.CREATE, id, needs=frozenset(needs), produces=frozenset({id}))

    @classmethod
    def drop(cls, sql: str, id: ObjectId, releases: Iterable[ObjectId], loses: str | None = None) -> "Step":
        """Return a step that drops an object."""
        return cls(sql, Action.DROP, id, destroys=frozenset({id}), releases=frozenset(releases), loses=loses)

    @property
    def statement(self) -> SchemaStatement:
        """The statement, as a plan gives it away."""
        literal = self.action in EXTRA or self.object.kind is Kind.FUNCTION
        return SchemaStatement(
            sql=self.sql if literal else as_meant(self.sql),
            action=self.action,
            object=self.object,
            produces=self.produces,
            destroys=self.destroys,
            needs=self.needs,
            loses=self.loses,
            transactional=self.transactional,
        )


def chained(steps: Iterable[Step], after: tuple[Step, ...] = ()) -> list[Step]:
    """Return steps each of which comes after the one before it; `after` comes before the first."""
    found: list[Step] = []
    for step in steps:
        first = (found[-1],) if found else after
        found.append(replace(step, after=(*step.after, *first)))
    return found
