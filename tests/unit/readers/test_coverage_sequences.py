"""Missing source sequences, compared with a model that knows every number of every hour."""

from __future__ import annotations

import random
from collections import defaultdict
from itertools import pairwise

import pytest

from ohlcv.readers.coverage_sequences import (
    FAR_APART,
    FIRST,
    LAST,
    MAX_MISSING,
    NOT_COUNTED,
    RESTART,
    Judgement,
    Numbers,
    judge_numbers,
)

Hours = dict[int, set[int]]


def judge(hours: Hours, uncounted: frozenset[int] = frozenset()) -> dict[int, Judgement]:
    rows = [Numbers(hour, min(numbers), max(numbers), len(numbers)) for hour, numbers in sorted(hours.items())]
    return judge_numbers(rows, lambda first, last: any(first <= hour <= last for hour in uncounted))


def gaps(judged: dict[int, Judgement]) -> dict[int, bool | None]:
    return {hour: each.has_gap for hour, each in judged.items()}


def missing(judged: dict[int, Judgement]) -> dict[int, int | None]:
    return {hour: each.missing for hour, each in judged.items()}


def test_contiguous_numbers_have_no_gap_except_where_a_neighbour_is_unknown() -> None:
    judged = judge({0: {1, 2}, 1: {3, 4}, 2: {5}})
    assert gaps(judged) == {0: None, 1: False, 2: None}
    assert [judged[0].detail, judged[1].detail, judged[2].detail] == [FIRST, "", LAST]
    assert missing(judged) == {0: None, 1: 0, 2: None}


def test_a_number_missing_in_an_hour_is_counted_there() -> None:
    judged = judge({0: {1, 2}, 1: {3, 6}, 2: {7}})
    assert judged[1] == Judgement(2, True, "numbers missing: 2 in the hour")
    assert gaps(judged) == {0: None, 1: True, 2: None}


def test_a_number_missing_at_a_boundary_shows_in_both_hours_and_is_counted_once() -> None:
    judged = judge({0: {1}, 1: {2, 3}, 4: {5, 6}, 5: {7}})
    assert gaps(judged) == {0: None, 1: True, 4: True, 5: None}
    assert missing(judged) == {0: None, 1: 0, 4: 1, 5: None}
    assert judged[1].detail == "numbers missing: 1 after the hour"
    assert judged[4].detail == "numbers missing: 1 before the hour"


def test_a_proven_gap_shows_also_without_a_neighbour() -> None:
    assert judge({0: {1, 3}}) == {0: Judgement(1, True, "numbers missing: 1 in the hour")}


def test_hours_whose_numbers_overlap_are_judged_together() -> None:
    complete = judge({0: {1}, 1: {2, 4}, 2: {3, 5}, 3: {6}})
    assert gaps(complete) == {0: None, 1: False, 2: False, 3: None}
    judged = judge({0: {1}, 1: {2, 4}, 2: {3, 6}, 3: {7}})
    assert gaps(judged) == {0: None, 1: True, 2: True, 3: None}
    assert missing(judged) == {0: None, 1: 1, 2: 0, 3: None}
    assert judged[1].detail == "numbers missing: 1 in 2 hours whose numbers overlap"


def test_numbers_that_begin_again_are_unknown_at_the_boundary() -> None:
    judged = judge({0: {8}, 1: {9, 12}, 2: {1, 2}, 3: {3}, 4: {4}})
    assert gaps(judged) == {0: None, 1: None, 2: None, 3: False, 4: None}
    assert judged[1].detail == judged[2].detail == RESTART


def test_numbers_that_begin_again_within_an_hour_do_not_prove_a_gap() -> None:
    # Hour 2 has 91 to 100 and then 1 to 10.
    hours = {0: set(range(71, 81)), 1: set(range(81, 91)), 2: {*range(91, 101), *range(1, 11)}}
    hours |= {hour: set(range(10 * (hour - 2) + 1, 10 * (hour - 2) + 11)) for hour in range(3, 7)}
    judged = judge(hours)
    assert gaps(judged) == {0: None, 1: None, 2: None, 3: None, 4: None, 5: False, 6: None}
    assert {judged[hour].detail for hour in (1, 2, 3, 4)} == {RESTART}


def test_a_number_in_two_hours_makes_them_and_their_boundaries_unknown() -> None:
    judged = judge({0: {1, 2}, 1: {3, 4}, 2: {5, 6}, 3: {6, 7}, 4: {8, 9}, 5: {10}, 6: {11}})
    assert gaps(judged) == {0: None, 1: None, 2: None, 3: None, 4: None, 5: False, 6: None}


def test_a_number_in_two_hours_of_a_series_without_others_is_unknown() -> None:
    assert {each.detail for each in judge({0: {1, 2}, 1: {2, 3}}).values()} == {RESTART}


def test_hours_more_than_seven_days_apart_are_not_compared() -> None:
    near = judge({0: {1}, 168: {3}})
    assert gaps(near) == {0: True, 168: True}
    far = judge({0: {1}, 169: {3}})
    assert {each.detail for each in far.values()} == {f"{FIRST}; {LAST}"}


def test_numbers_that_are_too_far_apart_to_be_of_trades_are_unknown() -> None:
    most = MAX_MISSING
    assert missing(judge({0: {0}, 1: {most}})) == {0: 0, 1: most - 1}
    assert judge({0: {0}, 1: {most + 1}}) == {0: Judgement(None, None, f"{FIRST}; {FAR_APART}")} | {
        1: Judgement(None, None, f"{FAR_APART}; {LAST}")
    }
    # In one hour: the limits of the type. The boundaries of the hour prove nothing either.
    judged = judge({0: {-(2**63) - 2}, 1: {-(2**63), 2**63 - 1}, 2: {2**63 + 9}})
    assert set(gaps(judged).values()) == set(missing(judged).values()) == {None}
    assert judged[1].detail == FAR_APART
    # A gap that is proven stays.
    assert judge({0: {1, 3}, 1: {2**62}})[0] == Judgement(1, True, "numbers missing: 1 in the hour")


@pytest.mark.parametrize("uncounted", [0, 1, 2])
def test_a_gap_is_not_proven_while_an_hour_that_may_fill_it_is_not_counted(uncounted: int) -> None:
    judged = judge({0: {1}, 2: {3}}, frozenset({uncounted}))
    assert gaps(judged) == {0: None, 2: None}
    assert judged[0].detail == f"{FIRST}; {NOT_COUNTED}"


def test_contiguous_numbers_are_proven_also_next_to_an_hour_that_is_not_counted() -> None:
    assert gaps(judge({0: {1}, 1: {2}, 2: {3}}, frozenset({2})))[1] is False


def test_a_gap_within_overlapping_hours_is_not_proven_while_one_of_them_is_not_counted() -> None:
    judged = judge({0: {1, 2, 4}, 1: {3, 6}}, frozenset({1}))
    assert gaps(judged) == {0: None, 1: None}


def test_random_histories_have_exactly_the_missing_numbers() -> None:
    chance = random.Random(3)
    checked = 0
    while checked < 300:
        history = _random_history(chance)
        ordered = [history[hour] for hour in sorted(history)]
        # Otherwise the numbers may have begun again.
        if all(max(later) > min(earlier) for earlier, later in pairwise(ordered)):
            _check(history)
            checked += 1


def _check(delivered: Hours) -> None:
    judged = judge(delivered)
    everything = sorted(number for numbers in delivered.values() for number in numbers)
    hour_of = {number: hour for hour, numbers in delivered.items() for number in numbers}
    affected: set[int] = set()
    for below, above in pairwise(everything):
        if above > below + 1:
            affected |= {hour_of[below], hour_of[above]}
    affected = {hour for group in _groups(delivered) if group & affected for hour in group}
    groups = _groups(delivered)
    at_the_ends = groups[0] | groups[-1]
    for hour in delivered:
        expected = True if hour in affected else None if hour in at_the_ends else False
        assert judged[hour].has_gap is expected, (hour, delivered)
    real = everything[-1] - everything[0] + 1 - len(everything)
    assert sum(each.missing or 0 for each in judged.values()) == real


def _random_history(chance: random.Random) -> Hours:
    """Return numbers by hour: trades up to 12 minutes out of order, some lost, some hours without trades."""
    hours: Hours = defaultdict(set)
    lost, density = chance.choice((0, 0.02, 0.3)), chance.randint(8, 20)
    time = 0.0
    for number in range(chance.randrange(1_000), 1_000 + chance.randint(5, 200)):
        time += chance.expovariate(density)
        if chance.random() < 0.02:
            time += chance.randint(1, 5)
        if chance.random() >= lost:
            hours[int(time + chance.uniform(0, 0.2))].add(number)
    return dict(hours) or {0: {1}}


def _groups(hours: Hours) -> list[set[int]]:
    """Return the hours connected by overlapping ranges of numbers, the lowest numbers first."""
    groups: list[set[int]] = []
    highest = -1
    for hour in sorted(hours, key=lambda each: min(hours[each])):
        if groups and min(hours[hour]) <= highest:
            groups[-1].add(hour)
        else:
            groups.append({hour})
        highest = max(highest, *hours[hour])
    return groups
