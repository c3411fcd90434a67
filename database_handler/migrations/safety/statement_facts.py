"""What a SQL statement does, told from its tokens: the verb, the names, and each change of an ALTER TABLE.

It reads only as much as the rules need and never fails: what it does not know has a verb and no more. Names
are bare: folded as the server folds them, without quotes, and without their schema. It is one module because
the statements share their clauses.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from database_handler.core.sql_text import Token, TokenKind, significant_tokens

__all__ = [
    "AlterAction",
    "ColumnFacts",
    "ConstraintFacts",
    "StatementFacts",
    "bare",
    "facts_of",
]


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """A column as a statement defines it."""

    name: str
    type: str
    default: str | None = None
    not_null: bool = False
    identity: bool = False
    generated: str | None = None
    constraints: tuple["ConstraintFacts", ...] = ()


@dataclass(frozen=True, slots=True)
class ConstraintFacts:
    """A constraint as a statement defines it.

    Attributes
    ----------
    kind : str
        ``CHECK``, ``UNIQUE``, ``PRIMARY KEY``, ``FOREIGN KEY``, ``EXCLUDE`` or ``NOT NULL``.
    text : str
        The tokens after the kind, each parted by one blank.
    """

    kind: str
    name: str = ""
    columns: tuple[str, ...] = ()
    references: str = ""
    not_valid: bool = False
    using_index: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True)
class AlterAction:
    """One change of an ALTER TABLE.

    Attributes
    ----------
    kind : str
        ``ADD COLUMN``, ``ADD CONSTRAINT``, ``DROP COLUMN``, ``DROP CONSTRAINT``, ``SET NOT NULL``,
        ``TYPE``, ``VALIDATE CONSTRAINT``, ``RENAME COLUMN``, ``RENAME CONSTRAINT``, ``RENAME``, ``REWRITE``,
        or the words that it begins with.
    start : int
        Where it stands in the statement, in characters from 0.
    """

    kind: str
    name: str = ""
    start: int = 0
    column: ColumnFacts | None = None
    constraint: ConstraintFacts | None = None
    type: str = ""
    new_name: str = ""
    cascade: bool = False
    collated: bool = False


@dataclass(frozen=True, slots=True)
class StatementFacts:
    """A statement.

    Attributes
    ----------
    verb : str
        ``CREATE INDEX``, ``ALTER TABLE``, ``UPDATE``, ``DO`` and so on, without OR REPLACE and the like.
    names : tuple of str
        What is made, dropped or changed.
    table : str
        The table of an index or trigger, or what the statement is about.
    words : frozenset of str
        All words outside of parentheses, in capitals.
    makes : tuple of str
        The names of what a CREATE makes.
    columns : tuple of str
        The columns of an index, as far as they are plain.
    labels : tuple of str
        The labels that an enum gets, as they are spelled.
    new_name : str
        What it is called after an ALTER ... RENAME TO.
    """

    verb: str
    names: tuple[str, ...] = ()
    table: str = ""
    words: frozenset[str] = frozenset()
    actions: tuple[AlterAction, ...] = ()
    defined: tuple[ColumnFacts, ...] = ()
    constraints: tuple[ConstraintFacts, ...] = ()
    columns: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    new_name: str = ""

    @property
    def concurrently(self) -> bool:
        """Whether it says CONCURRENTLY."""
        return "CONCURRENTLY" in self.words


def bare(spelled: str) -> str:
    """Return a name without quotes and without its schema: ``public."Odd"`` is ``Odd``."""
    parts = [token for token in significant_tokens(spelled) if token.kind in _NAMES]
    return _bare_token(parts[-1]) if parts else spelled


_NAMES = (TokenKind.WORD, TokenKind.QUOTED_IDENTIFIER)


def _bare_token(token: Token) -> str:
    if token.kind is TokenKind.QUOTED_IDENTIFIER:
        return token.text[1:-1].replace('""', '"')
    return token.text.lower() if token.text.isascii() else token.text


# ------------------------------------------------------------------------------------------- reading tokens


class _Reader:
    """The tokens of a statement, taken one after the other."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.place = 0

    def word(self, ahead: int = 0) -> str:
        """Return the word that comes next, in capitals; what is no word as it is; empty at the end."""
        if self.place + ahead >= len(self.tokens):
            return ""
        token = self.tokens[self.place + ahead]
        return token.text.upper() if token.kind is TokenKind.WORD else token.text

    def take(self, *words: str) -> bool:
        """Go past the words where they come next, all of them."""
        if any(self.word(ahead) != word for ahead, word in enumerate(words)):
            return False
        self.place += len(words)
        return True

    def take_any(self, *words: str) -> str:
        """Go past one of the words; empty where none comes next."""
        found = self.word()
        return found if found in words and self.take(found) else ""

    def more(self) -> bool:
        """Whether there is something left."""
        return self.place < len(self.tokens)

    def name(self) -> str:
        """Take a name, qualified or not, and return its last part."""
        found = ""
        while self.more() and self.tokens[self.place].kind in _NAMES:
            found = _bare_token(self.tokens[self.place])
            self.place += 1
            if not self.take("."):
                break
        return found

    def names(self) -> tuple[str, ...]:
        """Take names with commas between them."""
        found = [self.name()]
        while self.take(","):
            found.append(self.name())
        return tuple(name for name in found if name)

    def group(self) -> list[Token]:
        """Take what stands in the parentheses that come next, without them; empty where none do."""
        if self.word() != "(":
            return []
        start, depth = self.place + 1, 0
        while self.more():
            depth += (self.word() == "(") - (self.word() == ")")
            self.place += 1
            if not depth:
                return list(self.tokens[start : self.place - 1])
        return list(self.tokens[start:])

    def until(self, ends: frozenset[str], at_least: int = 0) -> list[Token]:
        """Take tokens up to one of some words outside of parentheses."""
        start, depth = self.place, 0
        while self.more():
            if not depth and self.place - start >= at_least and self.word() in ends:
                break
            depth += (self.word() in "([") - (self.word() in ")]") if len(self.word()) == 1 else 0
            self.place += 1
        return list(self.tokens[start : self.place])


def _split(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Give the pieces between the commas outside of parentheses."""
    piece: list[Token] = []
    depth = 0
    for token in tokens:
        depth += (token.text in ("(", "[")) - (token.text in (")", "]"))
        if token.text == "," and not depth:
            yield piece
            piece = []
        else:
            piece.append(token)
    if piece:
        yield piece


def _text(tokens: Sequence[Token]) -> str:
    return " ".join(token.text for token in tokens)


def _top_words(tokens: Sequence[Token]) -> frozenset[str]:
    words: set[str] = set()
    depth = 0
    for token in tokens:
        depth += (token.text == "(") - (token.text == ")")
        if not depth and token.kind is TokenKind.WORD:
            words.add(token.text.upper())
    return frozenset(words)


# ------------------------------------------------------------------------------------------- the statements

_ADORNMENTS = ("OR", "REPLACE", "GLOBAL", "LOCAL", "TEMP", "TEMPORARY", "UNLOGGED", "RECURSIVE", "UNIQUE")
_TWO_WORDS = {"MATERIALIZED": "VIEW", "TEXT": "SEARCH", "EVENT": "TRIGGER", "ACCESS": "METHOD"}
_BY_TABLE = frozenset({"TRIGGER", "POLICY", "RULE"})


def facts_of(sql: str) -> StatementFacts:
    """Return what one statement does, as far as the rules want to know it."""
    found = [token for token in significant_tokens(sql) if token.text != ";"]
    reader = _Reader(found)
    words = _top_words(found)
    verb = _main_verb(reader)
    if verb in ("CREATE", "DROP", "ALTER"):
        return _object_statement(reader, verb, words)
    if verb in ("UPDATE", "DELETE", "INSERT", "MERGE", "TRUNCATE", "LOCK", "REINDEX", "CLUSTER", "VACUUM"):
        return _row_statement(reader, verb, words)
    return StatementFacts(verb, words=words)


def _main_verb(reader: _Reader) -> str:
    if not reader.take("WITH"):
        verb = reader.word()
        reader.place += 1
        return verb
    reader.until(frozenset({"UPDATE", "DELETE", "INSERT", "SELECT", "MERGE"}))
    verb = reader.word()
    reader.place += 1
    return verb


def _object_statement(reader: _Reader, verb: str, words: frozenset[str]) -> StatementFacts:
    while reader.take_any(*_ADORNMENTS):
        pass
    kind = reader.word()
    reader.place += 1
    if second := _TWO_WORDS.get(kind):
        reader.take(second)
        kind = f"{kind} {second}"
    if reader.take("CONCURRENTLY"):
        words |= {"CONCURRENTLY"}
    _ = reader.take("IF", "NOT", "EXISTS") or reader.take("IF", "EXISTS")
    full = f"{verb} {kind}"
    if full == "CREATE INDEX":
        return _create_index(reader, words)
    if full == "CREATE TABLE":
        return _create_table(reader, words)
    if full in ("ALTER TABLE", "ALTER DOMAIN"):
        return _alter_table(reader, full, words)
    if full == "ALTER TYPE":
        return _alter_type(reader, words)
    return _other_object(reader, verb, kind, words)


def _other_object(reader: _Reader, verb: str, kind: str, words: frozenset[str]) -> StatementFacts:
    names = reader.names() if verb == "DROP" else (reader.name(),)
    table = names[0] if names else ""
    if kind in _BY_TABLE:
        before = "TO" if (verb, kind) == ("CREATE", "RULE") else "ON"
        reader.until(frozenset({before}))
        table = reader.name() if reader.take(before) else table
    labels = _labels(reader) if kind == "TYPE" else ()
    made = names if verb == "CREATE" else ()
    new_name = _renamed_to(reader) if verb == "ALTER" else ""
    return StatementFacts(f"{verb} {kind}", names, table, words, makes=made, labels=labels, new_name=new_name)


def _renamed_to(reader: _Reader) -> str:
    reader.until(frozenset({"RENAME"}))
    return reader.name() if reader.take("RENAME", "TO") else ""


def _labels(reader: _Reader) -> tuple[str, ...]:
    return tuple(token.text for token in reader.tokens if token.kind is TokenKind.STRING)


def _row_statement(reader: _Reader, verb: str, words: frozenset[str]) -> StatementFacts:
    if verb == "REINDEX":
        reader.group()
        verb = f"REINDEX {reader.word()}"
        reader.place += 1
        reader.take("CONCURRENTLY")
    else:
        while reader.take_any("FROM", "INTO", "TABLE", "ONLY", "FULL", "VERBOSE", "FREEZE", "ANALYZE"):
            pass
        if verb == "VACUUM" and (options := reader.group()):
            words |= {token.text.upper() for token in options}
    names = reader.names()
    return StatementFacts(verb, names, names[0] if names else "", words)


def _create_index(reader: _Reader, words: frozenset[str]) -> StatementFacts:
    name = "" if reader.word() == "ON" else reader.name()
    reader.take("ON")
    only = reader.take("ONLY")
    table = reader.name()
    if reader.take("USING"):
        reader.name()
    columns = tuple(_leading_name(piece) for piece in _split(reader.group()))
    words = words | ({"ONLY"} if only else set[str]())
    return StatementFacts("CREATE INDEX", (name,), table, words, columns=columns, makes=(name,))


def _leading_name(piece: Sequence[Token]) -> str:
    """Return the column that a part of an index is on; empty for an expression."""
    if piece and piece[0].kind in _NAMES and (len(piece) == 1 or piece[1].text not in ("(", ".")):
        return _bare_token(piece[0])
    return ""


def _create_table(reader: _Reader, words: frozenset[str]) -> StatementFacts:
    name = reader.name()
    columns: list[ColumnFacts] = []
    constraints: list[ConstraintFacts] = []
    for piece in _split(reader.group()):
        element = _Reader(piece)
        if constraint := _table_constraint(element):
            constraints.append(constraint)
        elif element.word() != "LIKE":
            columns.append(_column(element))
    return StatementFacts(
        "CREATE TABLE",
        (name,),
        name,
        words,
        defined=tuple(columns),
        constraints=tuple(constraints),
        makes=(name,),
    )


def _alter_type(reader: _Reader, words: frozenset[str]) -> StatementFacts:
    name = reader.name()
    labels: tuple[str, ...] = ()
    actions: tuple[AlterAction, ...] = ()
    if reader.take("ADD", "VALUE"):
        reader.take("IF", "NOT", "EXISTS")
        labels = (reader.word(),)
        actions = (AlterAction("ADD VALUE", name),)
    new_name = "" if labels else _renamed_to(reader)
    return StatementFacts("ALTER TYPE", (name,), "", words, actions, labels=labels, new_name=new_name)


def _alter_table(reader: _Reader, verb: str, words: frozenset[str]) -> StatementFacts:
    reader.take("ONLY")
    name = reader.name()
    reader.take("*")
    actions = tuple(_action(piece) for piece in _split(reader.tokens[reader.place :]) if piece)
    return StatementFacts(verb, (name,), name, words, actions)


# ---------------------------------------------------------------------------------- changes of an ALTER TABLE


def _action(piece: Sequence[Token]) -> AlterAction:
    reader = _Reader(piece)
    verb = reader.word()
    reader.place += 1
    start = piece[0].start
    if verb == "ADD":
        return _add(reader, start)
    if verb == "DROP":
        return _drop(reader, start)
    if verb == "ALTER":
        return _alter_column(reader, start)
    if verb == "RENAME":
        return _rename(reader, start)
    if verb == "VALIDATE" and reader.take("CONSTRAINT"):
        return AlterAction("VALIDATE CONSTRAINT", reader.name(), start)
    if verb == "SET" and reader.word() in ("LOGGED", "UNLOGGED", "TABLESPACE", "ACCESS"):
        return AlterAction("REWRITE", reader.word(), start)
    return AlterAction(f"{verb} {reader.word()}".strip(), start=start)


def _add(reader: _Reader, start: int) -> AlterAction:
    if constraint := _table_constraint(reader):
        return AlterAction("ADD CONSTRAINT", constraint.name, start, constraint=constraint)
    reader.take("COLUMN")
    reader.take("IF", "NOT", "EXISTS")
    column = _column(reader)
    return AlterAction("ADD COLUMN", column.name, start, column=column)


def _drop(reader: _Reader, start: int) -> AlterAction:
    kind = reader.take_any("CONSTRAINT", "COLUMN") or "COLUMN"
    if kind == "COLUMN" and reader.word() in ("NOT", "DEFAULT"):  # of a domain
        return AlterAction(f"DROP {reader.word()}", start=start)
    reader.take("IF", "EXISTS")
    name = reader.name()
    return AlterAction(f"DROP {kind}", name, start, cascade=reader.take("CASCADE"))


def _alter_column(reader: _Reader, start: int) -> AlterAction:
    if reader.take("CONSTRAINT"):
        return AlterAction("ALTER CONSTRAINT", reader.name(), start)
    reader.take("COLUMN")
    name = reader.name()
    if reader.take("SET", "NOT", "NULL"):
        return AlterAction("SET NOT NULL", name, start)
    if reader.take("DROP", "NOT", "NULL"):
        return AlterAction("DROP NOT NULL", name, start)
    if reader.take("TYPE") or reader.take("SET", "DATA", "TYPE"):
        type_name = _text(reader.until(frozenset({"COLLATE", "USING"}), 1))
        return AlterAction("TYPE", name, start, type=type_name, collated=reader.word() == "COLLATE")
    if reader.take("ADD", "GENERATED"):
        return AlterAction("ADD GENERATED", name, start)
    if reader.take("SET", "EXPRESSION"):
        return AlterAction("SET EXPRESSION", name, start)
    return AlterAction(f"{reader.word()} {reader.word(1)}".strip(), name, start)


def _rename(reader: _Reader, start: int) -> AlterAction:
    if reader.take("TO"):
        return AlterAction("RENAME", "", start, new_name=reader.name())
    kind = "RENAME CONSTRAINT" if reader.take("CONSTRAINT") else "RENAME COLUMN"
    reader.take("COLUMN")
    old = reader.name()
    reader.take("TO")
    return AlterAction(kind, old, start, new_name=reader.name())


# -------------------------------------------------------------------------------------- columns, constraints

_COLUMN_WORDS = frozenset(
    {"NOT", "NULL", "DEFAULT", "CHECK", "UNIQUE", "PRIMARY", "REFERENCES", "GENERATED", "CONSTRAINT"}
) | frozenset({"COLLATE", "STORAGE", "COMPRESSION", "DEFERRABLE", "INITIALLY"})


def _column(reader: _Reader) -> ColumnFacts:
    name = reader.name()
    type_name = _text(reader.until(_COLUMN_WORDS))
    default = generated = None
    not_null = identity = False
    constraints: list[ConstraintFacts] = []
    while reader.more():
        if reader.take("DEFAULT"):
            default = _text(reader.until(_COLUMN_WORDS, 1))
        elif reader.take("NOT", "NULL"):
            not_null = True
        elif reader.take("GENERATED"):
            identity, generated = _generated(reader)
        elif constraint := _column_constraint(reader, name):
            constraints.append(constraint)
        else:
            reader.place += 1
    kinds = {each.kind for each in constraints}
    made_not_null = not_null or identity or "PRIMARY KEY" in kinds
    return ColumnFacts(name, type_name, default, made_not_null, identity, generated, tuple(constraints))


def _generated(reader: _Reader) -> tuple[bool, str | None]:
    _ = reader.take("ALWAYS") or reader.take("BY", "DEFAULT")
    reader.take("AS")
    if reader.take("IDENTITY"):
        reader.group()
        return True, None
    reader.group()
    return False, "stored" if reader.take("STORED") else "virtual"


def _column_constraint(reader: _Reader, column: str) -> ConstraintFacts | None:
    name = reader.name() if reader.take("CONSTRAINT") else ""
    if reader.take("CHECK"):
        return ConstraintFacts("CHECK", name, (column,), text=_text(reader.group()))
    if reader.take("UNIQUE"):
        return ConstraintFacts("UNIQUE", name, (column,))
    if reader.take("PRIMARY", "KEY"):
        return ConstraintFacts("PRIMARY KEY", name, (column,))
    if reader.take("REFERENCES"):
        return ConstraintFacts("FOREIGN KEY", name, (column,), reader.name())
    return None


def _table_constraint(reader: _Reader) -> ConstraintFacts | None:
    name = reader.name() if reader.take("CONSTRAINT") else ""
    kind = _constraint_kind(reader)
    if not kind:
        return None
    rest = reader.tokens[reader.place :]
    words = _top_words(rest)
    if reader.take("USING", "INDEX"):
        return ConstraintFacts(kind, name or reader.name(), using_index=True, text=_text(rest))
    columns = _constraint_columns(reader, kind)
    reader.until(frozenset({"REFERENCES"}))
    references = reader.name() if reader.take("REFERENCES") else ""
    not_valid = "VALID" in words and "NOT" in words
    return ConstraintFacts(kind, name, columns, references, not_valid, text=_text(rest))


def _constraint_kind(reader: _Reader) -> str:
    for words in (("PRIMARY", "KEY"), ("FOREIGN", "KEY"), ("NOT", "NULL"), ("CHECK",), ("UNIQUE",)):
        if reader.take(*words):
            return " ".join(words)
    if reader.word() == "EXCLUDE" and reader.word(1) in ("(", "USING"):
        return "EXCLUDE" if reader.take("EXCLUDE") else ""
    return ""


def _constraint_columns(reader: _Reader, kind: str) -> tuple[str, ...]:
    if kind == "NOT NULL":
        return (reader.name(),)
    if kind in ("CHECK", "EXCLUDE"):
        return ()
    reader.until(frozenset({"("}))
    return tuple(_leading_name(piece) for piece in _split(reader.group()))
