"""A snapshot told again with one object under another name: ids, references, and the texts that name it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from database_handler.core.sql_text import SqlTextError, Token, TokenKind, tokens
from database_handler.migrations.schema.schema_diff.names import bare, callee, schema_of
from database_handler.migrations.schema.schema_diff.side import PART_KINDS, RELATION_KINDS, Side
from database_handler.migrations.schema.schema_diff.statement import Rename
from database_handler.migrations.schema.snapshot import (
    CompositeType,
    Constraint,
    Function,
    Index,
    Kind,
    ObjectId,
    SchemaObject,
    SchemaSnapshot,
    Sequence,
    Table,
    View,
)

__all__ = ["copies", "renamed_id", "told_again"]

_TEXTS = (
    "arguments",
    "check",
    "default",
    "definition",
    "expression",
    "partition_key",
    "result",
    "spelled",
    "type",
    "using",
)
_IGNORED = frozenset({TokenKind.WHITESPACE, TokenKind.COMMENT})
_NAMES = frozenset({TokenKind.WORD, TokenKind.QUOTED_IDENTIFIER})
_WHOLES = frozenset({*RELATION_KINDS, Kind.DOMAIN})
_PARTS = PART_KINDS | {Kind.DOMAIN_CONSTRAINT}
_LOOSE: frozenset[str] = frozenset()
_IN_TEXTS = frozenset({"FROM", "JOIN", "ONLY", "ON", "REFERENCES", "INTO", "UPDATE", "TO", ":"})
_IN_QUERIES = _IN_TEXTS | {",", "("}
_LIST_ENDS = frozenset(
    {",", "FROM", "WHERE", "UNION", "INTERSECT", "EXCEPT", "GROUP", "ORDER", "LIMIT", ")", ""}
)


def renamed_id(id: ObjectId, rename: Rename) -> ObjectId:
    """Return an id as it is after a renaming."""
    old, new = rename
    if id == old:
        return new
    if old.kind in _WHOLES and id.kind in _PARTS and id.name == old.name:
        return id._replace(name=new.name)
    if id.kind is Kind.FUNCTION and old.kind in (*_WHOLES, Kind.ENUM, Kind.COMPOSITE, Kind.RANGE):
        name, arguments = callee(id.name)
        return id._replace(name=name + _rewritten(arguments, rename)) if arguments != "()" else id
    return id


def told_again(snapshot: SchemaSnapshot, rename: Rename) -> SchemaSnapshot:
    """Return the snapshot after a renaming."""
    side = Side(snapshot)
    along = [rename, *copies(side, rename)]
    affected = {id for each in along for id in _affected(side, each.old)}
    objects: dict[ObjectId, SchemaObject] = {}
    for id, each in snapshot.objects.items():
        told = each
        for one in along:
            told = _told(told, one, texts=id in affected)
        objects[told.id] = told
    return replace(snapshot, objects=dict(sorted(objects.items())))


def copies(side: Side, rename: Rename) -> Iterator[Rename]:
    """Give the renamings of what the server renames along: in tables that inherit."""
    old, new = rename
    for table in side.descendants(old.name) if old.kind in (Kind.COLUMN, Kind.CONSTRAINT) else ():
        if (id := ObjectId(old.kind, table, old.part)) in side and old.part != new.part:
            yield Rename(id, id._replace(part=new.part))


def _affected(side: Side, old: ObjectId) -> set[ObjectId]:
    """Return what may name an object in its texts: what needs it, or a part of it."""
    found = {old, *side.dependents.get(old, ())}
    if old.kind in RELATION_KINDS:
        for part in side.parts.get(old.name, ()):
            found |= {part, *side.dependents.get(part, ())}
    if old.kind is Kind.COLUMN:
        # A part that the old server text does not record as needing the column may still name it.
        found |= set(side.parts.get(old.name, ()))
    return found


def _told(each: SchemaObject, rename: Rename, *, texts: bool) -> SchemaObject:
    changes = dict(_references(each, rename))
    if texts:
        in_view = isinstance(each, View)
        strict = _LOOSE if isinstance(each, Function) else _IN_QUERIES if in_view else _IN_TEXTS
        for name in _TEXTS:
            text = getattr(each, name, None)
            if type(text) is str:
                of = _LOOSE if name == "type" else strict
                changes[name] = _rewritten(text, rename, listing=in_view, strict=of)
        if isinstance(each, View):
            changes["columns"] = tuple((column, _rewritten(of, rename)) for column, of in each.columns)
        if isinstance(each, CompositeType):
            changes["attributes"] = tuple((a, _rewritten(of, rename), c) for a, of, c in each.attributes)
    changes = {name: value for name, value in changes.items() if getattr(each, name) != value}
    return replace(each, **changes) if changes else each


def _references(each: SchemaObject, rename: Rename) -> Iterator[tuple[str, Any]]:
    old, new = rename
    yield "id", renamed_id(each.id, rename)
    yield "needs", tuple(sorted(renamed_id(need, rename) for need in each.needs))
    match each:
        case Index():
            yield "table", new.name if old.kind in RELATION_KINDS and each.table == old.name else each.table
            yield "columns", _columns(each.columns, each.table, rename)
            yield "parent", new.name if old.kind is Kind.INDEX and each.parent == old.name else each.parent
        case Constraint():
            yield "columns", _columns(each.columns, each.id.name, rename)
            referenced = old.kind is Kind.TABLE and each.references == old.name
            yield "references", new.name if referenced else each.references
        case Sequence(owned_by=ObjectId() as column):
            yield "owned_by", renamed_id(column, rename)
        case Table():
            named = old.kind is Kind.TABLE
            yield "parents", tuple(new.name if named and one == old.name else one for one in each.parents)
        case _:
            return


def _columns(columns: tuple[str, ...], table: str, rename: Rename) -> tuple[str, ...]:
    if rename.old.kind is not Kind.COLUMN or rename.old.name != table:
        return columns
    return tuple(rename.new.part if column == rename.old.part else column for column in columns)


def _rewritten(
    text: str, rename: Rename, *, listing: bool = False, strict: frozenset[str] = frozenset()
) -> str:
    """Return a text with the tokens replaced that name what is renamed.

    Parameters
    ----------
    listing : bool
        Whether the text is a query, whose columns keep their names: what was called by the column's is
        called so with AS.
    strict : frozenset of str
        After which words a table's name is taken for one; after any where there are none.
    """
    old = rename.old.part or callee(bare(rename.old.name))[0]
    if old.strip('"') not in text:
        return text
    try:
        found = list(tokens(text))
    except SqlTextError:  # a text in a language of its own
        return text
    return _Rewriting(found, old, rename, listing=listing, strict=strict).text()


class _Rewriting:
    """One text while it is rewritten."""

    def __init__(
        self, found: list[Token], old: str, rename: Rename, *, listing: bool, strict: frozenset[str]
    ) -> None:
        self.found = found
        self.old = old
        self.new = rename.new.part or callee(bare(rename.new.name))[0]
        self.rename = rename
        self.strict = strict
        self.is_part = bool(rename.old.part)
        self.listing = listing and rename.old.kind is Kind.COLUMN
        self.solid = [place for place, token in enumerate(found) if token.kind not in _IGNORED]

    def text(self) -> str:
        texts = [token.text for token in self.found]
        selecting = [False]
        for order, place in enumerate(self.solid):
            token = self.found[place]
            self._follow(token, selecting)
            if self._names(order):
                texts[place] = self._new(order, selecting[-1])
            elif token.kind is TokenKind.STRING and self.rename.old.kind is Kind.SEQUENCE:
                texts[place] = token.text.replace(f"'{self.rename.old.name}'", f"'{self.rename.new.name}'")
        return "".join(texts)

    @staticmethod
    def _follow(token: Token, selecting: list[bool]) -> None:
        """Keep whether the text stands in the list of a SELECT, for each pair of brackets."""
        if token.text == "(":
            selecting.append(False)
        elif token.text == ")" and len(selecting) > 1:
            selecting.pop()
        elif token.kind is TokenKind.WORD and token.text.upper() in ("SELECT", *_LIST_ENDS):
            selecting[-1] = token.text.upper() == "SELECT"

    def _at(self, order: int) -> str:
        if 0 <= order < len(self.solid):
            token = self.found[self.solid[order]]
            return token.text.upper() if token.kind is TokenKind.WORD else token.text
        return ""

    def _names(self, order: int) -> bool:
        token = self.found[self.solid[order]]
        if token.kind not in _NAMES or token.text != self.old or self._at(order - 1) == "AS":
            return False
        following = self._at(order + 1)
        if self.is_part:
            return following not in (".", "(") or self._at(order - 1) in (".", "ON", "(", ",")
        if self.rename.old.kind in RELATION_KINDS and self.strict and not self._stands_for_a_table(order):
            return False
        schema = schema_of(self.rename.old.name)
        qualified = self._at(order - 1) == "."
        return not qualified or (bool(schema) and self.found[self.solid[order - 2]].text == schema)

    def _stands_for_a_table(self, order: int) -> bool:
        """Whether it can only be a table's name: a column may have the same."""
        before = order - 2 if self._at(order - 1) == "." else order
        return self._at(order + 1) == "." or self._at(before - 1) in self.strict

    def _new(self, order: int, selecting: bool) -> str:
        if not (self.listing and selecting and self._at(order + 1) in _LIST_ENDS):
            return self.new
        start = order - 2 if self._at(order - 1) == "." else order
        return f"{self.new} AS {self.old}" if self._at(start - 1) in ("SELECT", ",", "DISTINCT") else self.new
