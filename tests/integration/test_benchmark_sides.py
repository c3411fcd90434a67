"""Every side of the benchmarks does every work alike, on a small table. All peers are imported: -m soak."""

import pytest

from database_handler import Database


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_all_sides_return_and_store_the_same(database: Database) -> None:
    from benchmarks.beside import LIMIT, ORM_PEERS, SIDES, side_by_side
    from benchmarks.figures import OURS
    from benchmarks.part import Context
    from benchmarks.workloads import workloads

    rows = list(side_by_side(Context(database, rounds=1), workloads(100), 100))
    assert [row.name for row in rows] == [work.name for work in workloads(100)]
    for row in rows:
        assert {LIMIT, OURS, *ORM_PEERS} <= row.sides.keys() <= {side.name for side in SIDES}


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_words_that_name_no_row_are_refused_with_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import table

    names = [name for part in table.PARTS for name in part.names]
    assert len(names) == len(set(names))
    with pytest.raises(SystemExit) as ended:
        table.main(["--only", "no such row"])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert all(name in told for name in names)


@pytest.mark.soak
def test_link_adds_a_millisecond(database: Database) -> None:
    from benchmarks.link import ROUND_TRIP, linked

    with linked(database.config) as link:
        assert link.added == pytest.approx(ROUND_TRIP, rel=0.5)  # the machine may be busy
