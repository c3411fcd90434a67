"""The check of two benchmark runs: it finds what became slower, and not what is noise or another machine."""

import random
from pathlib import Path

import pytest

from benchmarks.figures import OURS, Row, verdict, write
from benchmarks.regression import LEAST, compared, main

SEED = 20_261_130
LIMIT = "psycopg2"


def run(ours: float, noise: float, *, machine: float = 1.0, rounds: int = 9, seed: int = SEED) -> list[Row]:
    """Make a run: each round has a disturbance that both sides share, and each side noise of its own."""
    chance = random.Random(seed)
    sides: dict[str, list[float]] = {LIMIT: [], OURS: []}
    for _ in range(rounds):
        disturbed = machine * chance.uniform(1, 3)
        sides[LIMIT].append(disturbed * chance.lognormvariate(0, noise))
        sides[OURS].append(disturbed * ours * chance.lognormvariate(0, noise))
    return [Row("get", sides, limit=LIMIT, at_most=1.5)]


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
def test_what_became_twice_as_slow_is_a_regression(noise: float) -> None:
    [found] = compared(run(1.2, noise), run(2.4, noise, seed=SEED + 1))
    assert found.regressed
    assert found.change == pytest.approx(1.0, abs=0.3)


def test_noise_of_the_same_code_is_none_as_a_rule() -> None:
    false = 0
    for seed in range(400):
        [found] = compared(run(1.2, 0.1, seed=seed), run(1.2, 0.1, seed=seed + 10_000))
        false += found.regressed
    assert false < 400 * 0.02, f"{false} of 400 equal pairs were told to be regressions, from seed 0 on"


def test_bound_grows_with_the_spread_and_is_never_under_the_least() -> None:
    [calm], [noisy] = (compared(run(1, noise), run(1, noise, seed=1)) for noise in (0.0, 0.2))
    assert calm.bound == LEAST
    assert noisy.bound > 2 * LEAST


def test_slower_machine_changes_nothing() -> None:
    [found] = compared(run(1.2, 0.01), run(1.2, 0.01, machine=7.0, seed=3))
    assert abs(found.change) < LEAST


def test_faster_is_no_regression() -> None:
    [found] = compared(run(2.4, 0.02), run(1.2, 0.02))
    assert not found.regressed
    assert found.change < -0.4


def test_rate_that_fell_is_a_regression() -> None:
    old = Row("pool", {LIMIT: [100.0] * 5, OURS: [100.0] * 5}, "1/s", limit=LIMIT)
    new = Row("pool", {LIMIT: [100.0] * 5, OURS: [50.0] * 5}, "1/s", limit=LIMIT)
    assert [found.regressed for found in compared([old], [new])] == [True]
    assert [found.regressed for found in compared([new], [old])] == [False]


def test_one_round_trip_more_is_a_regression_without_any_rounds() -> None:
    old = Row("round trips: unit of 20", {LIMIT: [22.0], OURS: [21.0]}, "trips")
    new = Row("round trips: unit of 20", {LIMIT: [22.0], OURS: [23.0]}, "trips")
    assert [found.regressed for found in compared([old], [new])] == [True]


def test_command_says_which_and_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    other = Row("list", {LIMIT: [1.0] * 9, OURS: [1.2] * 9}, limit=LIMIT)
    write(old, [*run(1.2, 0.02), other], "18.6", {})
    write(new, [*run(2.4, 0.02), other], "18.6", {})
    assert main([str(old), str(new)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "REGRESSION" in line] == ["get"]
    assert len(lines) == 2
    assert main([str(new), str(old)]) == 0
    assert main([str(old), str(old)]) == 0


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"rows": [{"no": 1}]}', '{"rows": 3}', "\0"])
def test_what_is_no_file_of_figures_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    write(good, run(1, 0), "18.6", {})
    bad.write_text(text, encoding="utf-8")
    assert main([str(good), str(bad)]) == 2
    assert "bad.json is no file of figures" in capsys.readouterr().err
    assert main([str(good), str(tmp_path / "missing.json")]) == 2
    assert "missing.json" in capsys.readouterr().err


def test_files_without_a_row_in_common_are_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    write(one, run(1, 0), "18.6", {})
    write(two, [Row("list", {OURS: [1.0]})], "18.6", {})
    assert main([str(one), str(two)]) == 2
    assert "no row in common" in capsys.readouterr().err


PEERED = {LIMIT: [1.0, 2.0, 3.0], OURS: [1.4, 2.8, 4.2], "A": [7.0, 14.1, 21.0], "B": [70.0, 140.0, 210.0]}


def test_verdict_is_of_the_best_peer_and_round_by_round() -> None:
    found = verdict(Row("get", PEERED, limit=LIMIT, at_most=1.5, peers=("A", "B"), faster=5))
    assert found.to_limit == pytest.approx(1.4)
    assert (found.best_peer, found.within_limit, found.fast_enough, found.met) == ("A", True, True, True)
    missed = verdict(Row("get", PEERED, limit=LIMIT, at_most=1.3, peers=("A", "B"), faster=6))
    assert (missed.within_limit, missed.fast_enough, missed.met) == (False, False, False)


def test_verdict_without_a_limit_is_of_the_figure_itself() -> None:
    assert verdict(Row("memory", {OURS: [29.0]}, "MB", at_most=30)).within_limit
    assert not verdict(Row("memory", {OURS: [31.0]}, "MB", at_most=30)).met
    assert verdict(Row("fair", {OURS: [0.9]}, "share", at_least=0.8)).within_limit
    assert not verdict(Row("fair", {OURS: [0.7]}, "share", at_least=0.8)).met


def test_rate_above_the_limit_is_within_it() -> None:
    rates = {LIMIT: [100.0], OURS: [125.0]}
    found = verdict(Row("pool", rates, "1/s", limit=LIMIT, at_most=1.0))
    assert found.to_limit == pytest.approx(0.8)
    assert found.within_limit
