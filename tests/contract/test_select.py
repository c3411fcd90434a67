"""list, page, stream, count and exists: filters and orders mean what plain Python says they mean."""

import base64
import json
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest

from database_handler import Database, UnitOfWork
from database_handler.core.exceptions import InvalidValue, RecordNotFound, UnknownField
from tests.contract.conftest import Subject

ANY = ("eq", "ne", "in", "not_in", "is_null")
COMPARISONS = ("gt", "gte", "lt", "lte")
PATTERNS = ("contains", "icontains", "startswith", "istartswith", "endswith", "iendswith")
OPERATORS = {
    "text": (*ANY, *COMPARISONS, *PATTERNS),
    "boolean": ANY,
    "text[]": ("eq", "ne", "is_null", "contains", "overlaps"),
    "jsonb": ("eq", "ne", "is_null", "contains", "has_key"),
}
ORDERED = (*ANY, *COMPARISONS)


def operators(kind: str) -> tuple[str, ...]:
    return OPERATORS.get(kind, ORDERED)


def json_contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            k in whole and json_contains(whole[k], v) for k, v in part.items()
        )
    if isinstance(part, list):
        return isinstance(whole, list) and all(any(json_contains(w, p) for w in whole) for p in part)
    return bool(whole == part)


def oracle(kind: str, operator: str, rank: Callable[[Any], Any]) -> Callable[[Any, Any], bool]:
    """What an operator means, in Python; `rank` orders the values."""
    if operator == "contains" and kind == "jsonb":
        return json_contains
    if kind == "text[]" and operator in {"contains", "overlaps"}:
        return {
            "contains": lambda held, given: set(given) <= set(held),
            "overlaps": lambda held, given: bool(set(given) & set(held)),
        }[operator]
    plain: dict[str, Callable[[Any, Any], bool]] = {
        "eq": lambda held, given: held == given,
        "ne": lambda held, given: held != given,
        "in": lambda held, given: held in given,
        "not_in": lambda held, given: held not in given,
        "is_null": lambda held, given: (held is None) is given,
        "gt": lambda held, given: rank(held) > rank(given),
        "gte": lambda held, given: rank(held) >= rank(given),
        "lt": lambda held, given: rank(held) < rank(given),
        "lte": lambda held, given: rank(held) <= rank(given),
        "has_key": lambda held, given: given in held,
        "contains": lambda held, given: given in held,
        "icontains": lambda held, given: given.lower() in held.lower(),
        "startswith": lambda held, given: held.startswith(given),
        "istartswith": lambda held, given: held.lower().startswith(given.lower()),
        "endswith": lambda held, given: held.endswith(given),
        "iendswith": lambda held, given: held.lower().endswith(given.lower()),
    }
    return plain[operator]


def holds(kind: str, operator: str, rank: Callable[[Any], Any], held: Any, given: Any) -> bool:
    if held is None and operator not in {"eq", "ne", "not_in", "is_null"}:
        return False
    return oracle(kind, operator, rank)(held, given)


def ranks(subject: Subject, name: str, records: list[Any]) -> Callable[[Any], Any]:
    """The order of a column's values: the server's for text, whose collation is the database's affair."""
    if subject.table.column(name).type != "text":
        return lambda value: value
    values = list({str(value) for record in records if (value := getattr(record, name)) is not None})
    rows = subject.over.session.all("SELECT v FROM unnest(%s::text[]) AS v ORDER BY v", [values])
    places = {row[0]: place for place, row in enumerate(rows)}
    return lambda value: places[str(value)]


def given_values(kind: str, operator: str, held: list[Any]) -> list[Any]:
    """Values worth asking for: some that are there, with and without matches."""
    values = [value for value in held if value is not None][:3]
    if operator == "is_null":
        return [True, False]
    if operator in {"in", "not_in"}:
        return [[], values[:1], values]
    if kind == "jsonb":
        return _json_values(operator, values)
    if operator == "overlaps" or (kind == "text[]" and operator == "contains"):
        return [[item] for value in values for item in value] + [["no such"], ["h264", "opus"]]
    if operator in PATTERNS:
        return _patterns(values)
    return [*values, None] if operator in {"eq", "ne"} else values


def _json_values(operator: str, values: list[Any]) -> list[Any]:
    if operator == "has_key":
        return ["rating", "no such", "région"]
    if operator == "contains":
        return [{}, {"rating": 3}, {"région": {}}, {"seen": [None]}, {"no": 1}, *values]
    return values


def _patterns(values: list[Any]) -> list[str]:
    whole = [str(value) for value in values]
    parts = [part for text in whole for part in (text[:3], text[-3:], text[1:4].upper()) if part]
    return [*whole, *parts, "%", "_", "\\", "100%", "'"]


def varied(subject: Subject, size: int = 30) -> list[Any]:
    """Records with NULLs here and there, beside a parent's other children."""
    parents = subject.parents()
    fixed = {*subject.table.key, *(key.columns[-1] for key in subject.table.foreign_keys)}
    nullable = [c.name for c in subject.table.columns if c.nullable and c.name not in fixed]
    drafts = []
    for place in range(size):
        empty = {name: None for at, name in enumerate(nullable) if (place + at) % 3 == 0}
        drafts.append(subject.factory.build(**parents, **empty))
    subject.repository.create_many(drafts)
    return subject.repository.list()


def test_every_operator_of_every_field_means_what_python_says(subject: Subject) -> None:
    records = varied(subject)
    asked = 0
    for column in subject.table.columns:
        held = [getattr(record, column.name) for record in records]
        rank = ranks(subject, column.name, records)
        for operator in operators(column.type):
            for given in given_values(column.type, operator, held):
                keyword = column.name if operator == "eq" and asked % 2 else f"{column.name}__{operator}"
                expected = [r for r, h in zip(records, held, strict=True)
                            if holds(column.type, operator, rank, h, given)]  # fmt: skip
                found = subject.repository.list(**{keyword: given})
                assert found == expected, (keyword, given)
                assert subject.repository.count(**{keyword: given}) == len(expected)
                assert subject.repository.exists(**{keyword: given}) is bool(expected)
                asked += 1
    assert asked > 100


def test_filters_are_joined_by_and(subject: Subject) -> None:
    records = varied(subject)
    half = [record.id for record in records[:15]]
    found = subject.repository.list(id__in=half, id__ne=half[0], version=1, order_by="-id", limit=5)
    assert found == sorted(records[1:15], key=lambda record: record.id, reverse=True)[:5]
    assert subject.repository.list(limit=0) == []


def test_unknown_fields_and_operators_are_named_with_the_nearest(subject: Subject) -> None:
    calls: list[Any] = [subject.repository.list, subject.repository.count, subject.repository.page]
    for call in calls:
        wrong: dict[str, str] = {
            "metadat": "'metadata'",
            "created__gte": "'created_at'",
            "version__is_nul": "'is_null'",
            "metadata__gt": "allowed are",
            "version__": "allowed are",
            'id" = id --': "no field",
        }
        for keyword, told in wrong.items():
            with pytest.raises(UnknownField, match=told):
                call(**{keyword: 1})
    for order in ("metadat", "created", "id; DROP TABLE projects", "--id", "", "metadata"):
        with pytest.raises(UnknownField):
            subject.repository.list(order_by=order)
    assert subject.repository.count(id=uuid4()) == 0  # nothing was sent, so the unit goes on


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "no uuid"},
        {"id__in": "text"},
        {"id__in": [None]},
        {"id__in": 5},
        {"version__gte": "many"},
        {"version__gt": None},
        {"version__gt": 2**70},
        {"created_at__gt": "yesterday"},
        {"metadata__contains": "text"},
        {"metadata__has_key": "a\0b"},
        {"metadata__has_key": "\ud800"},
        {"metadata__is_null": "yes"},
        {"metadata": {"a": float("nan")}},
        {"limit": -1},
        {"limit": "5"},
        {"limit": True},
        {"order_by": 5},
        {"order_by": [5]},
        {"order_by": ["id", "-id"]},
    ],
    ids=str,
)
def test_wrong_values_are_refused_before_they_are_sent(subject: Subject, wrong: Any) -> None:
    with pytest.raises(InvalidValue):
        subject.repository.list(**wrong)
    assert subject.repository.count(id=uuid4()) == 0


def test_reading_by_id(subject: Subject) -> None:
    one, two, three = subject.records(3)
    repository = subject.repository
    assert repository.get_by_id(two.id) == repository.find_by_id(str(two.id)) == two
    assert repository.find_by_id(uuid4()) is None
    with pytest.raises(RecordNotFound) as caught:
        repository.get_by_id(uuid4())
    assert caught.value.table == subject.table.name
    assert repository.get_many([three.id, uuid4(), one.id, str(three.id)]) == [three, one, three]
    assert repository.get_many(iter([])) == []
    for wrong in ("no", 5, None, b"x"):
        with pytest.raises(InvalidValue):
            repository.find_by_id(wrong)  # type: ignore[arg-type]  # that is the point
        with pytest.raises(InvalidValue):
            repository.get_many([one.id, wrong])  # type: ignore[list-item]


@pytest.mark.parametrize("call", ["create_many", "upsert_many", "update_many", "get_many", "delete_many"])
@pytest.mark.parametrize("wrong", [None, 5])
def test_what_is_no_list_is_refused_by_name(subject: Subject, call: str, wrong: Any) -> None:
    with pytest.raises(InvalidValue, match=f"{call} takes a list"):
        getattr(subject.repository, call)(wrong)


@pytest.mark.parametrize("wrong", ["x; y", 5, b"x"])
def test_search_refuses_what_is_no_project_before_it_sends(uow: UnitOfWork, wrong: Any) -> None:
    with pytest.raises(InvalidValue, match="project_id"):
        uow.text_sources.search("word", project_id=wrong)
    assert uow.text_sources.search("word") == []  # the unit goes on


# ------------------------------------------------------------------------------------------------- in order


def orders(subject: Subject) -> list[list[str]]:
    names = [c.name for c in subject.table.columns if c.type not in {"jsonb", "text[]"}]
    nullable = [c.name for c in subject.table.columns if c.nullable and c.name in names]
    singles = [[sign + name] for name in names for sign in ("", "-")]
    mixed = [[one + name, two + "version", three + "created_at"] for name in nullable[:2]
             for one, two, three in (("", "-", ""), ("-", "", "-"), ("-", "-", "-"))]  # fmt: skip
    pairs = [[one, f"-{two}"] for one, two in pairwise(nullable)]
    return [*singles, *mixed, *pairs]


def sorted_by(subject: Subject, records: list[Any], order: list[str]) -> list[Any]:
    """Sorted as documented: NULLs last going up and first going down, the id last, as the last column."""
    names = [name.removeprefix("-") for name in order]
    whole = order if "id" in names else [*order, "-id" if order[-1].startswith("-") else "id"]
    found = list(records)
    for item in reversed(whole):
        name = item.removeprefix("-")
        rank = ranks(subject, name, records)

        def key(record: Any, name: str = name, rank: Callable[[Any], Any] = rank) -> Any:
            value = getattr(record, name)
            return (1, 0) if value is None else (0, rank(value))

        found.sort(key=key, reverse=item.startswith("-"))
    return found


def test_pages_walk_the_whole_table_in_every_order(subject: Subject) -> None:
    records = varied(subject, 23)
    for order in orders(subject):
        expected = sorted_by(subject, records, order)
        assert subject.repository.list(order_by=order) == expected, order
        walked, cursor = [], None
        for _ in range(len(records)):
            page = subject.repository.page(order_by=order, limit=6, after=cursor)
            walked += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
        assert walked == expected, order
        assert cursor is None


def test_what_is_deleted_or_stored_meanwhile_moves_no_page(subject: Subject) -> None:
    records = subject.records(6)
    repository: Any = subject.repository
    newest: dict[str, Any] = {"order_by": "-id", "id__gte": records[0].id}
    first = repository.page(**newest, limit=2)
    assert first.items == records[:3:-1]
    for happens in (lambda: repository.delete(records[5].id), lambda: subject.records(2)):
        happens()
        assert repository.page(**newest, limit=2, after=first.next_cursor).items == records[3:1:-1]
        assert repository.list(**newest)[2:4] != records[3:1:-1]  # what an offset would have given


def test_a_page_that_fits_has_no_next(subject: Subject) -> None:
    records = subject.records(4)
    ids = [record.id for record in records]
    assert subject.repository.page(limit=4, id__in=ids).next_cursor is None
    page = subject.repository.page(limit=3, id__in=ids)
    assert page.items == records[:3]
    assert subject.repository.page(limit=3, id__in=ids, after=page.next_cursor).items == records[3:]
    empty = subject.repository.page(id__in=[])
    assert (empty.items, empty.next_cursor, empty.total) == ([], None, None)


def test_totals(subject: Subject) -> None:
    ids = [record.id for record in subject.records(5)]
    page: Any = subject.repository.page
    told = {total: page(limit=2, id__in=ids, total=total) for total in (None, "exact", 3, 5, 9, 0)}
    assert {key: (each.total, each.capped) for key, each in told.items()} == {
        None: (None, False),
        "exact": (5, False),
        3: (3, True),
        5: (5, False),
        9: (5, False),
        0: (0, True),
    }
    assert [len(each.items) for each in told.values()] == [2] * 6
    last = page(limit=4, id__in=ids, total="exact", after=page(limit=4, id__in=ids).next_cursor)
    assert (len(last.items), last.total) == (1, 5)
    nothing = page(id__in=[], total="exact")
    assert (nothing.items, nothing.total, nothing.capped) == ([], 0, False)


def test_a_cursor_belongs_to_its_query(subject: Subject) -> None:
    ids = [record.id for record in subject.records(5)]
    page: Any = subject.repository.page
    cursor = page(limit=2, id__in=ids, order_by="-version").next_cursor
    assert cursor is not None
    for other in (
        {"id__in": ids},
        {"id__in": ids, "order_by": "version"},
        {"id__in": ids[:4], "order_by": "-version"},
        {"order_by": "-version"},
    ):
        with pytest.raises(InvalidValue, match="after"):
            page(limit=2, after=cursor, **other)


def test_damaged_cursors_are_refused(subject: Subject) -> None:
    ids = [record.id for record in subject.records(3)]
    cursor = subject.repository.page(limit=2, id__in=ids).next_cursor
    assert cursor is not None
    damaged = [
        cursor[:-1],
        cursor[1:],
        cursor + "A",
        cursor[::-1],
        "",
        "=",
        "no cursor",
        "é",
        "[]",
        "W10",
        "bnVsbA",
    ]
    damaged += [cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :]
                for place in range(0, 24, 5)]  # fmt: skip
    mark, *_ = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    damaged.append(base64.urlsafe_b64encode(json.dumps([mark, None]).encode()).decode().rstrip("="))
    for text in (*damaged, 5, b"x"):
        with pytest.raises(InvalidValue, match="after"):
            subject.repository.page(limit=2, id__in=ids, after=text)  # type: ignore[arg-type]
    assert len(subject.repository.page(limit=2, id__in=ids, after=cursor).items) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"limit": 0}, {"limit": 10_001}, {"limit": None}, {"total": "all"}, {"total": -1}, {"total": True}],
    ids=str,
)
def test_wrong_pages_are_refused(subject: Subject, wrong: Any) -> None:
    with pytest.raises(InvalidValue):
        subject.repository.page(**wrong)


# -------------------------------------------------------------------------------------------------- streams


@pytest.mark.parametrize("batch", [1, 7, 25, 1000])
def test_a_stream_gives_what_a_list_gives(subject: Subject, batch: int) -> None:
    ids = [record.id for record in subject.records(25)]
    expected = subject.repository.list(id__in=ids, order_by="-id")
    assert list(subject.repository.stream(id__in=ids, order_by="-id", batch=batch)) == expected


def test_a_unit_goes_on_beside_its_streams(subject: Subject) -> None:
    records = subject.records(10)
    ids = [record.id for record in records]
    first = subject.repository.stream(id__in=ids, batch=2)
    second = subject.repository.stream(id__in=ids, batch=3)
    assert [next(first), next(second), next(first), next(first)] == [records[0], *records[:3]]
    subject.repository.update(records[9].id, metadata={"n": 1})
    first.close()
    assert list(second) == records[1:]
    assert subject.repository.get_by_id(records[9].id).version == 2


@pytest.mark.parametrize(
    "wrong", [{"batch": 0}, {"batch": "1"}, {"no_field": 1}, {"order_by": "no_field"}], ids=str
)
def test_a_wrong_stream_is_refused_at_the_call(subject: Subject, wrong: Any) -> None:
    with pytest.raises((InvalidValue, UnknownField)):
        subject.repository.stream(**wrong)


def test_outside_a_unit(committed: Subject, committed_database: Database) -> None:
    records = committed.records(30)
    ids = [record.id for record in records]
    repository = committed.repository
    assert repository.list(id__in=ids, order_by="-id") == records[::-1]
    assert repository.page(id__in=ids, limit=30, total="exact").items == records
    assert (repository.count(id__in=ids), repository.exists(id__in=ids)) == (30, True)
    assert list(repository.stream(id__in=ids, batch=7)) == records
    assert committed_database.pool.stats().in_use == 0


def test_a_stream_left_early_gives_its_connection_back(
    committed: Subject, committed_database: Database
) -> None:
    records = committed.records(30)
    ids = [record.id for record in records]
    with closing(committed.repository.stream(id__in=ids, batch=7)) as stream:
        assert next(stream) == records[0]
        assert committed_database.pool.stats().in_use == 1
    assert committed_database.pool.stats().in_use == 0
    for record in committed.repository.stream(id__in=ids, batch=7):
        if record == records[9]:
            break
    del stream
    assert committed_database.pool.stats().in_use == 0


def test_a_thread_with_a_unit_open_is_kept_from_the_database(
    committed: Subject, committed_database: Database
) -> None:
    with committed_database.unit_of_work():
        for call in (committed.repository.list, committed.repository.count):
            with pytest.raises(InvalidValue, match="unit of work open"):
                call()
        beside = committed.on(committed_database.repositories(outside_unit=True))
        assert beside.repository.exists() in {True, False}


def test_the_unit_reads_what_it_wrote(subject: Subject, uow: UnitOfWork) -> None:
    record = subject.record()
    assert subject.repository.list(id=record.id) == [record]
    assert uow.session.one("SELECT 1") == (1,)
