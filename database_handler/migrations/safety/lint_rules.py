"""The rules of lint, in words: what each finds, why that hurts, and what to write instead.

Their names are stable: files name them in `-- lint: allow RULE because ...`.
"""

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["RULES", "RuleText"]


class RuleText(NamedTuple):
    """A rule in words.

    Attributes
    ----------
    what : str
        What it finds.
    note : bool
        Whether it only tells, and never fails a file.
    locks : bool
        Whether it is about waiting, so that it is only told where the tables are small.
    both : bool
        Whether it holds for down sections too.
    """

    name: str
    what: str
    why: str
    instead: str
    note: bool = False
    locks: bool = False
    both: bool = False


def _about_waiting(name: str, what: str, why: str, instead: str) -> RuleText:
    return RuleText(name, what, why, instead, locks=True, both=True)


_WAITING = (
    _about_waiting(
        "index-not-concurrent",
        "CREATE INDEX, DROP INDEX or REINDEX without CONCURRENTLY on a table that exists",
        "nobody can write to the table while the index is built (nor read it while one is dropped)",
        "CONCURRENTLY, in a section `-- migrate: up, no transaction` of its own",
    ),
    _about_waiting(
        "constraint-validated-at-once",
        "ADD CHECK or ADD FOREIGN KEY that looks at every row at once",
        "the table is locked while all rows are read",
        "add it NOT VALID, and VALIDATE CONSTRAINT in a later section",
    ),
    _about_waiting(
        "set-not-null-scan",
        "SET NOT NULL of a column that no valid CHECK (column IS NOT NULL) covers",
        "nobody can read or write the table while all rows are read",
        "ADD CONSTRAINT ... CHECK (column IS NOT NULL) NOT VALID; VALIDATE it in a later section; then SET "
        "NOT NULL, which reads nothing, and drop the check",
    ),
    _about_waiting(
        "unique-builds-index",
        "ADD UNIQUE, ADD PRIMARY KEY or ADD EXCLUDE that builds its index",
        "nobody can read or write the table while the index is built",
        "CREATE UNIQUE INDEX CONCURRENTLY in a section without a transaction, then ADD CONSTRAINT ... USING "
        "INDEX",
    ),
    _about_waiting(
        "add-column-rewrite",
        "ADD COLUMN with a volatile default, an identity, a stored generated value or serial",
        "every row is written anew while nobody can read or write the table",
        "add it nullable, set the default, fill it in a section `-- migrate: up, batched`, then NOT NULL",
    ),
    _about_waiting(
        "type-change-rewrite",
        "a change of type that stores the values in another way",
        "every row and every index is written anew while nobody can read or write the table",
        "a new column, a batched filling, and a swap; or an allow with the reason why the table is small",
    ),
    _about_waiting(
        "table-rewrite",
        "VACUUM FULL, CLUSTER, SET LOGGED and the like, or a rewrite that was measured",
        "every row is written anew while nobody can read or write the table",
        "do without, or do it at a quiet hour and allow it with that reason",
    ),
    _about_waiting(
        "several-tables-locked",
        "one transaction that locks several tables from before against readers",
        "while it waits for the second, everybody waits for the first; two such in different orders deadlock",
        "a section for each table, in one order everywhere",
    ),
    _about_waiting(
        "scan-under-lock",
        "reading or writing many rows after a lock that keeps readers away, in one transaction",
        "the lock is held for as long as that takes",
        "a section of its own for what takes long",
    ),
    _about_waiting(
        "whole-table-write",
        "UPDATE or DELETE of a whole table in one transaction",
        "every row stays locked to the end, and the old rows cannot be cleaned up meanwhile",
        "a section `-- migrate: up, batched` with a LIMIT",
    ),
)

_DEPLOYMENT = (
    RuleText(
        "add-column-not-null",
        "ADD COLUMN NOT NULL without a default, on a table that exists",
        "it fails as soon as the table has a row",
        "a default (dropped afterwards, if the models have none); or nullable, a batched filling, NOT NULL",
        both=True,
    ),
    RuleText(
        "drop-data",
        "DROP TABLE, DROP COLUMN or TRUNCATE of what existed before",
        "the rows are gone, and the release that runs meanwhile still uses them",
        "stop using it, and drop it in a later release; say why nobody needs it in the allow",
    ),
    RuleText(
        "drop-in-use",
        "a view, function, type or sequence that is dropped and not made again in the section",
        "the release that runs meanwhile may still use it",
        "stop using it, and drop it in a later release",
    ),
    RuleText(
        "rename-in-use",
        "a table, column, view, type or function that gets another name",
        "the release that runs meanwhile uses the old name",
        "add the new one beside it, move over, and drop the old one in a later release",
    ),
    RuleText(
        "drop-cascade",
        "CASCADE, which drops what the file does not name",
        "what goes with it differs from database to database, and no down brings it back",
        "drop each object by its name, dependents first",
        both=True,
    ),
    RuleText(
        "enum-value-used",
        "a label that is added to an enum and used in the same transaction",
        "the server refuses it (55P04)",
        "use it in a later section",
        both=True,
    ),
)

_DESIGN = (
    RuleText(
        "foreign-key-unindexed",
        "a foreign key whose columns no index begins with",
        "each delete or change of key of the other table reads this one from end to end",
        "an index on the columns",
    ),
    RuleText(
        "name-too-long",
        "a name of more than 63 bytes",
        "the server cuts it, and two such names may become one",
        "a shorter name",
        both=True,
    ),
    RuleText("json-type", "a column of type json", "it has neither equality nor indexes", "jsonb"),
    RuleText("char-type", "a column of type char(n)", "values are padded with blanks", "text with a CHECK"),
    RuleText(
        "timestamp-type",
        "a column of type timestamp without time zone",
        "which moment it means depends on who reads it",
        "timestamptz",
    ),
    RuleText(
        "serial-type",
        "a column of type serial",
        "its sequence has rights, an owner and a default of its own that get lost",
        "GENERATED BY DEFAULT AS IDENTITY",
    ),
)

_ALLOWING = (
    RuleText(
        "allow-without-reason",
        "`-- lint: allow RULE` without `because ...`",
        "nobody will know later whether it still holds",
        "`-- lint: allow RULE because` and the reason",
        both=True,
    ),
    RuleText(
        "allow-unknown-rule",
        "`-- lint:` with a rule that there is not, or with other words",
        "it allows nothing",
        "`-- lint: allow RULE because ...` with a name of `database-handler migrations lint --rules`",
        both=True,
    ),
    RuleText(
        "allow-unused",
        "`-- lint: allow RULE because ...` where the rule finds nothing",
        "it says that something dangerous is done there, and it is not",
        "take it out",
        note=True,
        both=True,
    ),
    RuleText(
        "breaks-old-inserts",
        "a column that becomes NOT NULL without a default",
        "the release that runs meanwhile does not fill it, and its inserts fail from here on",
        "expand, then contract: keep a default (or let it be NULL) until no old release runs, then NOT NULL",
        note=True,
    ),
    RuleText(
        "opaque",
        "DO, CALL or a Python function, whose work is told by no statement",
        "nothing in it is looked at",
        "plain statements where they do; measure it with `migrate --dry-run`",
        note=True,
        both=True,
    ),
)

RULES: Mapping[str, RuleText] = {rule.name: rule for rule in (*_WAITING, *_DEPLOYMENT, *_DESIGN, *_ALLOWING)}
"""Every rule by its name, in the order in which they are told."""
