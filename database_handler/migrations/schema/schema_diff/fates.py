"""What becomes of each object of two schemas: made, dropped, changed in place, or dropped and made again.

PostgreSQL refuses to change what something else stands on. So what stands on a thing that goes, or that is
made again, is made again too, as far up as that reaches; but a column keeps its values: it is given its new
type or default in place, and a type that its columns need is moved out of the way until they have moved.

It is one module because each of these decisions may set off every other.
"""

from collections import deque
from collections.abc import Iterable
from functools import cached_property

from database_handler.core.sql_text import SqlTextError, TokenKind, significant_tokens
from database_handler.migrations.schema.schema_diff.casts import family, refer_to_each_other
from database_handler.migrations.schema.schema_diff.deparsed import is_told_otherwise
from database_handler.migrations.schema.schema_diff.names import bare, base_type, callee, free_name
from database_handler.migrations.schema.schema_diff.overloads import calling_texts, rivals
from database_handler.migrations.schema.schema_diff.side import RELATION_KINDS, Side
from database_handler.migrations.schema.schema_diff.verdicts import (
    is_enclosed,
    must_be_made_again,
    must_go,
    names_of,
    retypes,
)
from database_handler.migrations.schema.snapshot import (
    Column,
    Constraint,
    ConstraintType,
    DefaultPrivileges,
    Domain,
    Index,
    Kind,
    ObjectId,
    Sequence,
    Statistics,
    Table,
    Trigger,
)

__all__ = ["Change"]

_TYPES = (Kind.ENUM, Kind.DOMAIN, Kind.COMPOSITE, Kind.RANGE)
_REBUILT_BY_SERVER = (Constraint, Index, Statistics)


class Change:
    """Two schemas, and the fate of every object that is not in both of them alike.

    `anew` is made again, whatever else is found.

    Attributes
    ----------
    gone, added, changed : list of ObjectId
        Only in the old one; only in the new one; in both, and different.
    again : set of ObjectId
        Dropped and made again.
    moved : dict
        Types that are made again while columns hold their values: the name that the old one has meanwhile.
    parked : set of ObjectId
        Ranges that are made again while columns hold their values, which are text meanwhile: the functions
        that belong to a range keep its name, so that it cannot be moved.
    retyped, redefaulted : set of ObjectId
        Columns that are given their type, or their default, again: also where both look the same.
    reattached : set of str
        Tables that let go of their parents and take them again.
    tied : set of str
        Those of them whose parents stay, all of them.
    released : set of ObjectId
        Sequences whose column goes, and that stay.
    """

    def __init__(self, old: Side, new: Side, anew: Iterable[ObjectId] = ()) -> None:
        self.old, self.new = old, new
        self.gone = [id for id in old.objects if id not in new.objects]
        self.added = [id for id in new.objects if id not in old.objects]
        self.changed = [
            id for id, each in old.objects.items() if id in new.objects and new.objects[id] != each
        ]
        self.again: set[ObjectId] = set()
        self.moved: dict[ObjectId, str] = {}
        self.parked: set[ObjectId] = set()
        self.retyped: set[ObjectId] = set()
        self.redefaulted: set[ObjectId] = set()
        self.reattached: set[str] = set()
        self.tied: set[str] = set()
        self.released: set[ObjectId] = set()
        self._queue: deque[ObjectId] = deque()
        self._begin(anew)
        self._spread()
        self._park_above()
        self._make_from_above()
        self._make_overloads_again()
        self._release_sequences()

    def is_destroyed(self, id: ObjectId) -> bool:
        """Whether the old object is dropped, made again afterwards or not."""
        return id in self.old and (id not in self.new or id in self.again)

    def is_made(self, id: ObjectId) -> bool:
        """Whether the new object is made, for the first time or again."""
        return id in self.new and (id not in self.old or id in self.again)

    def stays(self, id: ObjectId) -> bool:
        """Whether one and the same object is in both schemas."""
        return id in self.old and id in self.new and id not in self.again

    def linked(self, child: str, parent: str) -> bool:
        """Whether a table stays the other's child all the time."""
        before, after = self.old.table(child), self.new.table(child)
        if before is None or after is None or not self.stays(before.id) or child in self.reattached:
            return False
        return parent in self.kept_parents(before, after)

    def kept_parents(self, before: Table, after: Table) -> tuple[str, ...]:
        """Return the parents that a table has all the time: the first ones, for their order counts."""
        if before.partition_bound != after.partition_bound or before.id.name in self.tied:
            return ()
        kept: list[str] = []
        for one, other in zip(before.parents, after.parents, strict=False):
            if one != other or not self.stays(ObjectId(Kind.TABLE, one)):
                break
            kept.append(one)
        return tuple(kept)

    def _begin(self, anew: Iterable[ObjectId]) -> None:
        for id in self.gone:
            if id.kind in _TYPES and any(ObjectId(kind, id.name) in self.new for kind in _TYPES):
                self._make_way(id)
        self._queue.extend(self.gone)
        for id in sorted(anew):
            self._make_again(id)
        for id in self.changed:
            before, after = self.old.objects[id], self.new.objects[id]
            if must_be_made_again(before, after, self.old, self.new):
                self._make_again(id)
            elif isinstance(before, Column) and isinstance(after, Column) and retypes(before, after):
                self._retype(id)
        for id in sorted(self._references_to_changed_parts()):
            self._make_again(id)
        for id in sorted(self._stricter_domains()):
            if is_enclosed(id, self.old):  # the server does not look for values inside of others
                self._make_again(id)

    def _references_to_changed_parts(self) -> set[ObjectId]:
        """Return the references to wholes of which a part becomes unlogged, or logged: not below them."""
        wholes = set[str]()
        for id in self.changed:
            before, after = self.old.table(id.name), self.new.table(id.name)
            if before and after and before.partition_bound and before.persistence != after.persistence:
                wholes.update(self.old.above(id.name))
        found = (each for each in self.old.objects.values() if isinstance(each, Constraint))
        return {each.id for each in found if each.references in wholes and each.id in self.new}

    def _stricter_domains(self) -> set[ObjectId]:
        """Return the domains that stay and refuse values that they took before."""
        found = {id for id in self.changed if getattr(self.new.objects[id], "not_null", False)}
        found = {id for id in found if not getattr(self.old.objects[id], "not_null", False)}
        for id in (*self.added, *self.changed):
            before, after = self.old.objects.get(id), self.new.objects[id]
            if isinstance(after, Constraint) and after.validated and id.kind is Kind.DOMAIN_CONSTRAINT:
                same = isinstance(before, Constraint) and before.validated
                if not same or getattr(before, "definition", None) != after.definition:
                    found.add(ObjectId(Kind.DOMAIN, id.name))
        return {id for id in found if id.kind is Kind.DOMAIN and id in self.old and id in self.new}

    def _make_from_above(self) -> None:
        """Make a check again that is not validated, where a table that is new inherits it; take off parts.

        Such a table would get it as one that is: it can only come with its parent's, which costs nothing.
        """
        while found := sorted(self._checks_above()):
            for id in found:
                self._make_again(id)
            self._spread()
        self.tied = self._tied_parts() | self._tied_children()
        self.reattached |= self.tied
        for id in sorted(self._exclusions_of_parts()):
            self._make_again(id)
        self._spread()

    def _make_overloads_again(self) -> None:
        """Make functions again that stay, and with which a call that is read anew would not be understood."""
        while found := sorted(self._in_the_way()):
            for id in found:
                self._make_again(id)
            self._spread()

    def _in_the_way(self) -> set[ObjectId]:
        calls = ((caller, other) for caller, others in self.rivals.items() for other in others)
        return {other for caller, other in calls if self.stays(other) and self._is_read(caller)}

    def _is_read(self, id: ObjectId) -> bool:
        """Whether the server is told the texts of an object that is in the new schema."""
        if not self.stays(id) or id in self.redefaulted or id in self.retyped:
            return True
        return calling_texts(self.old.objects[id]) != calling_texts(self.new.objects[id])

    @cached_property
    def rivals(self) -> dict[ObjectId, frozenset[ObjectId]]:
        """The functions that may not be there while a call is read that means another, by what calls so."""
        return rivals(self.new)

    def _exclusions_of_parts(self) -> set[ObjectId]:
        """Return those that stay while the whole's is made, or that are attached: they come from there."""
        return {
            each.id
            for each in self.new.objects.values()
            if isinstance(each, Constraint)
            and each.type is ConstraintType.EXCLUSION
            and each.inherited
            and self.stays(each.id)
            and any(
                self.is_made(need) or not self.linked(each.id.name, need.name)
                for need in each.needs
                if need.kind is Kind.CONSTRAINT
            )
        }

    def _tied_parts(self) -> set[str]:
        """Return the parts with an index that goes, and that belongs to one of the whole, which stays.

        The server drops neither by itself, nor the whole's before a part's key: the part is taken off.
        """
        found = set[str]()
        for id, each in self.old.objects.items():
            if isinstance(each, Index) and each.parent is not None and self.is_destroyed(id):
                found.update([each.table] if self.stays(ObjectId(Kind.INDEX, each.parent)) else [])
            elif isinstance(each, Constraint) and not each.inherited and self.is_destroyed(id):
                found.update([id.name] if self._has_index_above(each) else [])
        return {table for table in found if self._is_attached(table)}

    def _tied_children(self) -> set[str]:
        """Return the tables that keep a column, or that it is not NULL, as a parent loses it.

        What of it came from the parent (checks, NOT NULL) would stay behind, and nothing could take it off.
        """
        found = set[str]()
        for each in self.old.objects.values():
            if isinstance(each, Column) and each.id in self.new:
                found.update([each.id.name] if self._parents_lose(each.id) or self._is_deep(each) else [])
        return found

    def _parents_lose(self, id: ObjectId) -> bool:
        table = self.old.table(id.name)
        if table is None or table.partition_bound is not None:
            return False
        return any(
            self._loses(id._replace(name=parent), id)
            for parent in table.parents
            if self.linked(id.name, parent)
        )

    def _is_deep(self, before: Column) -> bool:
        """Whether it ceases to be generated two levels below another: PostgreSQL 15 refuses those at once."""
        after = self.new.column(before.id.name, before.id.part)
        if before.generated is None or after is None or after.generated is not None:
            return False
        parents = [parent for parent in self.old.above(before.id.name) if self.linked(before.id.name, parent)]
        return any(self.linked(parent, above) for parent in parents for above in self.old.above(parent))

    def _loses(self, above: ObjectId, id: ObjectId) -> bool:
        """Whether a parent's column goes, or may become NULL, and a child's does not."""
        before, after = self.old.column(above.name, above.part), self.new.column(above.name, above.part)
        column = self.new.column(id.name, id.part)
        if self.is_destroyed(above):
            return self.stays(id) and self._is_bound(above)
        nullable = before is not None and after is not None and before.not_null and not after.not_null
        return nullable and column is not None and column.not_null

    def _is_bound(self, column: ObjectId) -> bool:
        """Whether what inherits a column has more from there: a check on it, or that it is not NULL."""
        if getattr(self.old.objects[column], "not_null", False):
            return True
        found = (self.old.objects[id] for id in self.old.dependents.get(column, ()) if id.name == column.name)
        return any(isinstance(each, Constraint) and each.type is ConstraintType.CHECK for each in found)

    def _has_index_above(self, each: Constraint) -> bool:
        indexes = (self.old.objects.get(need) for need in each.needs if need.kind is Kind.INDEX)
        parents = getattr(self.old.table(each.id.name), "parents", ())
        return any(isinstance(index, Index) and index.table in parents for index in indexes)

    def _is_attached(self, table: str) -> bool:
        found = self.old.table(table)
        return found is not None and any(self.linked(table, parent) for parent in found.parents)

    def _checks_above(self) -> set[ObjectId]:
        found = set[ObjectId]()
        for each in self.new.objects.values():
            if (
                isinstance(each, Constraint)
                and each.inherited
                and not each.validated
                and self.is_made(each.id)
            ):
                table = self.new.table(each.id.name)
                if table is not None:
                    found.update(each.id._replace(name=parent) for parent in table.parents)
        return {id for id in found if self.stays(id) and not self._validated_below(id)}

    def _validated_below(self, check: ObjectId) -> bool:
        """Whether a check, or what other tables have of it, is validated, which would be undone."""
        ids = (check._replace(name=table) for table in (check.name, *self.new.descendants(check.name)))
        return any(getattr(self.new.objects.get(id), "validated", False) for id in ids)

    def _spread(self) -> None:
        while self._queue:
            id = self._queue.popleft()
            for dependent in self.old.dependents.get(id, ()):
                if dependent in self.new and dependent not in self.again:
                    self._consider(dependent, id)

    def _make_again(self, id: ObjectId) -> None:
        if id in self.again or id in self.moved:
            return
        self._make_way(id)
        self.again.add(id)
        self._queue.append(id)

    def _make_way(self, id: ObjectId) -> None:
        """Let columns hold their values while another type takes the name of theirs."""
        if id.kind is Kind.RANGE and self._holds_values(id):
            self.parked.add(id)
        elif id.kind in _TYPES and self._holds_values(id):
            self.moved[id] = free_name(
                id.name, {each.name for each in (*self.old.objects, *self.new.objects)}
            )

    def _holds_values(self, type: ObjectId) -> bool:
        """Whether a column that stays is of this type, or of one that is made of it (and may go itself)."""
        return any(
            (dependent.kind is Kind.COLUMN and dependent in self.new)
            or (dependent.kind in _TYPES and self._holds_values(dependent))
            for dependent in self.old.dependents.get(type, ())
        )

    def _retype(self, id: ObjectId) -> None:
        if id in self.retyped or id in self.again:
            return
        self.retyped.add(id)
        for table in self.old.descendants(id.name):
            child = ObjectId(Kind.COLUMN, table, id.part)
            if child in self.old and child in self.new and self.linked(table, id.name):
                self._retype(child)
        self._reshape(id)

    def _reshape(self, id: ObjectId) -> None:
        for dependent in self.old.dependents.get(id, ()):
            if dependent not in self.new:
                continue
            before = self.old.objects[dependent]
            if isinstance(before, Column):
                if before.generated:
                    self._make_again(dependent)
            elif isinstance(before, Sequence):
                continue
            elif (
                isinstance(before, Table)
                or not isinstance(before, _REBUILT_BY_SERVER)
                or not self._survives(before)
            ):
                self._make_again(dependent)
        self._reshape_key(id)
        for key in self.keys_on(id):
            for above in self.old.dependents.get(key, ()):
                if above in self.new and id not in self.old.needs(above) and not self._comes_along(above):
                    self._make_again(above)

    def keys_on(self, column: ObjectId) -> set[ObjectId]:
        """Return the keys and indexes on a column that stay: the server makes them anew with its type."""
        found = (id for id in self.old.dependents.get(column, ()) if self.stays(id))
        return {id for id in found if isinstance(self.old.objects[id], Constraint | Index)}

    def _comes_along(self, id: ObjectId) -> bool:
        """Whether what needs a key is made anew with it, or by itself: its parts, a reference from above."""
        each = self.old.objects[id]
        if isinstance(each, Constraint):
            return each.references is None or each.inherited
        return isinstance(each, Index | Table | Column)

    def _reshape_key(self, id: ObjectId) -> None:
        table = self.old.table(id.name)
        if table is not None and table.partition_key is not None:
            words = {token.text for token in significant_tokens(table.partition_key)}
            if id.part in words:
                self._make_again(table.id)

    def _survives(self, each: Constraint | Index | Statistics) -> bool:
        """Whether the server can make it again by itself, whatever columns have their new types yet."""
        if (isinstance(each, Statistics) and each.target is not None) or (
            isinstance(each, Index) and each.statistics
        ):
            return False  # a target that was set would be forgotten
        if is_told_otherwise(each.definition):
            return False
        columns = [need for need in self.old.needs(each.id) if need.kind is Kind.COLUMN]
        if any(self.old.needs(column) & self.parked for column in columns):
            return False  # text, which the column is meanwhile, may have no such operators
        types = [self._type(one, new=new) for one in columns if one in self.new for new in (False, True)]
        if isinstance(each, Constraint) and each.type is ConstraintType.FOREIGN_KEY:
            return refer_to_each_other(types)
        families = {family(type) for type in types}
        return len(columns) < 2 or (len(families) == 1 and None not in families) or self._only_one(columns)

    def _only_one(self, columns: Iterable[ObjectId]) -> bool:
        def differs(id: ObjectId) -> bool:
            return id in self.retyped or (id in self.new and self._type(id) != self._type(id, new=True))

        return sum(map(differs, columns)) < 2

    def _type(self, id: ObjectId, *, new: bool = False) -> str:
        column = (self.new if new else self.old).objects[id]
        return column.type if isinstance(column, Column) else ""

    def _consider(self, dependent: ObjectId, destroyed: ObjectId) -> None:
        """Decide about what stays, and stands on something that does not (or not as it is)."""
        before, after = self.old.objects[dependent], self.new.objects[dependent]
        if isinstance(before, Column) and isinstance(after, Column):
            self._consider_column(before, after, destroyed)
        elif isinstance(before, Sequence):
            return
        elif isinstance(before, Table):
            self._consider_table(before, destroyed)
        elif isinstance(before, Domain) and destroyed.kind not in _TYPES:
            self.redefaulted.add(dependent)
        elif self._goes_with_its_table(dependent, destroyed):
            return
        elif self._comes_back(destroyed) or before == after or self._still_needs(dependent, destroyed):
            self._make_again(dependent)

    def _still_needs(self, dependent: ObjectId, destroyed: ObjectId) -> bool:
        """Whether it stands on the same thing afterwards, or on a relation that takes its name."""
        kinds = RELATION_KINDS if destroyed.kind in RELATION_KINDS else (destroyed.kind,)
        needs = self.new.needs(dependent)
        return any(destroyed._replace(kind=kind) in needs for kind in kinds)

    def _consider_column(self, before: Column, after: Column, destroyed: ObjectId) -> None:
        id = before.id
        if must_go(before, destroyed):
            self._make_again(id)
        elif destroyed.kind in _TYPES and base_type(before.type) in names_of(self.old.objects[destroyed]):
            if destroyed in self.new or destroyed in self.moved or destroyed in self.parked:
                self._retype(id)
        elif before.generated:
            if destroyed in self.new or before == after:
                self._make_again(id)
            return
        if before.hides_default:
            self.redefaulted.add(id)
        if before.default is not None and (self._comes_back(destroyed) or before.default == after.default):
            self.redefaulted.add(id)

    def _comes_back(self, destroyed: ObjectId) -> bool:
        """Whether it is made again, or another function of its name is: a call could then mean either."""
        overloads = self._overloads if destroyed.kind is Kind.FUNCTION else ()
        return destroyed in self.new or callee(destroyed.name)[0] in overloads

    @cached_property
    def _overloads(self) -> set[str]:
        return {callee(id.name)[0] for id in self.added if id.kind is Kind.FUNCTION}

    def _consider_table(self, before: Table, destroyed: ObjectId) -> None:
        if destroyed.kind is Kind.TABLE and destroyed.name in before.parents:
            self.reattached.add(before.id.name)
        elif destroyed in self.new and destroyed.kind is not Kind.SCHEMA and before.partition_key is not None:
            self._make_again(before.id)

    def _goes_with_its_table(self, dependent: ObjectId, destroyed: ObjectId) -> bool:
        """Whether it is a partition's copy of what its parent loses: the partition is taken off before."""
        before = self.old.objects[dependent]
        if isinstance(before, Constraint | Trigger) and before.inherited:
            table = before.id.name
        elif isinstance(before, Index) and before.parent is not None:
            table = before.table
        else:
            return False
        return destroyed.kind is not Kind.TABLE and table in self.reattached

    def _park_above(self) -> None:
        """Park the types that are made of parked ones, for the old ones can only be dropped together."""
        while found := [id for id in self.moved if self.old.needs(id) & self.parked]:
            self.parked.update(found)
            for id in found:
                del self.moved[id]
        for id in sorted(id for id in self.retyped if self.old.needs(id) & self.parked):
            self._reshape(id)  # indexes that text has no operators for
        self._spread()

    def _release_sequences(self) -> None:
        for id, each in self.old.objects.items():
            if isinstance(each, Sequence) and each.owned_by is not None and id in self.new:
                self.released.update([id] if self.is_destroyed(each.owned_by) else [])

    @cached_property
    def rules(self) -> list[DefaultPrivileges]:
        """The default privileges that are in force while objects are made."""
        found = (each for each in self.old.objects.values() if isinstance(each, DefaultPrivileges))
        return [each for each in found if not self.is_destroyed(each.id)]

    @cached_property
    def made_by_name(self) -> dict[str, list[ObjectId]]:
        """What is made, and columns that change, by the word that a text would name them with."""
        found: dict[str, list[ObjectId]] = {}
        altered = (id for id in self.changed if id.kind is Kind.COLUMN)
        for id in dict.fromkeys((*self.added, *sorted(self.again), *altered, *sorted(self.retyped))):
            if id in self.new:
                word = id.part if id.kind is Kind.COLUMN else callee(bare(id.name))[0]
                found.setdefault(word, []).append(id)
        return found

    @staticmethod
    def words(text: str) -> set[str]:
        """Return the words of a text and of the strings in it, which hold the bodies of functions."""
        found, texts = set[str](), [text]
        while texts:
            try:
                for token in significant_tokens(texts.pop()):
                    if token.kind is TokenKind.DOLLAR_STRING:
                        tag = token.text.index("$", 1) + 1
                        texts.append(token.text[tag:-tag])
                    elif token.kind in (TokenKind.WORD, TokenKind.QUOTED_IDENTIFIER):
                        found.add(token.text if token.text.startswith('"') else token.text.lower())
            except SqlTextError:  # a body in a language of its own
                continue
        return found
