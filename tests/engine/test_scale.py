"""The simulation of docs/scale.md where its answers are known on paper."""

from __future__ import annotations

import pytest

from benchmarks.scale import (
    NFE,
    ROWS,
    CallCost,
    Service,
    Visit,
    any_model,
    burst_forecast,
    simulated,
)

COST = CallCost(5.0, 6.0)


def ran(workers: int, models: list[str], **options: object) -> Service:
    service = Service(workers, COST, **options)  # type: ignore[arg-type]
    for model in models:
        visit = Visit(0.0, model)
        service.visits.append(visit)
        service.arrive(visit)
    service.env.run()
    return service


def test_one_request_takes_its_evaluations_in_sequence() -> None:
    (visit,) = ran(1, ["a"]).visits
    assert visit.ended == pytest.approx(NFE * COST.ms(ROWS))
    assert visit.first_frame == pytest.approx(COST.ms(ROWS))


def test_requests_of_a_model_share_calls_and_those_of_two_models_take_turns() -> None:
    same, apart = ran(1, ["a", "a"]), ran(1, ["a", "b"])
    assert same.env.now == pytest.approx(NFE * COST.ms(2 * ROWS))
    assert apart.env.now == pytest.approx(2 * NFE * COST.ms(ROWS))


def test_two_workers_halve_a_burst_that_fills_their_calls() -> None:
    visits = 4 * (COST.most_rows() // ROWS)
    assert burst_forecast(2, visits, COST) == pytest.approx(burst_forecast(1, visits, COST) / 2)


def test_the_rule_of_the_program_puts_models_together() -> None:
    models = ["a", "b"] * 2 + ["a"]
    together = ran(2, models)
    assert together.rows / together.calls > ROWS
    assert simulated(10, COST, seconds=60).rows_per_call > (
        simulated(10, COST, rule=any_model, seconds=60).rows_per_call
    )


def test_a_death_costs_time_and_no_request() -> None:
    service = Service(2, COST)
    for _ in range(6):
        service.visits.append(Visit(0.0, "a"))
        service.arrive(service.visits[-1])
    service.env.run(until=2.5 * COST.ms(3 * ROWS))  # in the middle of each worker's third call
    service.kill()
    service.env.run()
    assert sorted(visit.restarts for visit in service.visits) == [0, 0, 0, 1, 1, 1]
    last = max(visit.ended or 0.0 for visit in service.visits)
    assert last > NFE * COST.ms(3 * ROWS) and all(visit.ended for visit in service.visits)
