from __future__ import annotations

import datetime as dt

import pytest

from inventory_service.codes import scaling as codes
from inventory_service.models import MetricFrame, ScalingDecision, Stage
from inventory_service.reasons import because
from inventory_service.registry import hosts
from inventory_service.scaling import windows
from inventory_service.scaling.policies import Signal
from tests.support import ADA, START, FakeClock, Machine, expiry

LOAD = Signal("load1_per_cpu", "avg", 300)
MINUTE = dt.timedelta(minutes=1)


@pytest.fixture
def machines(stage: Stage, web_1: Machine, web_2: Machine) -> list[Machine]:
    return [web_1, web_2]


def minute(clock: FakeClock, machines: list[Machine], *values: float, metric: str = "load1_per_cpu") -> None:
    """A minute goes by, in which each machine reports its value (None: nothing), then the sampler looks."""
    clock.advance(30)
    for machine, value in zip(machines, values, strict=True):
        machine.beat(clock.now(), metrics={} if value is None else {metric: value})
    windows.sample(expiry=expiry(clock.advance(30)))


def test_it_reads_the_mean_of_the_window(stage: Stage, machines: list[Machine], clock: FakeClock) -> None:
    for value in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
        minute(clock, machines, value, value + 0.2)
    found = windows.read(stage, Signal("load1_per_cpu", "avg", 120), at=clock.now())
    assert (found.value, found.reporting, found.expected) == (pytest.approx(0.6), 2, 2)


@pytest.mark.parametrize(
    ("statistic", "value"), [("avg", 2.0), ("p50", 2.0), ("p95", 3.0), ("max", 3.0), ("min", 1.0), ("sum", 4.0)]
)
def test_it_knows_each_statistic(
    stage: Stage, machines: list[Machine], clock: FakeClock, statistic: str, value: float
) -> None:
    minute(clock, machines, 1.0, 3.0)
    assert windows.read(stage, Signal("load1_per_cpu", statistic, 60), at=clock.now()).value == value


def test_it_samples_a_minute_once(stage: Stage, machines: list[Machine], clock: FakeClock) -> None:
    minute(clock, machines, 1.0, 3.0)
    windows.sample(expiry=expiry(clock.advance(5)))
    assert [frame.at for frame in MetricFrame.select().where(MetricFrame.metric == "load1_per_cpu")] == [START]


@pytest.mark.parametrize(("statistic", "load"), [("avg", 5.0), ("sum", 5.0), ("max", 6.0)])
def test_it_knows_the_load_of_all_hosts_also_while_their_number_changes(
    stage: Stage, machines: list[Machine], clock: FakeClock, statistic: str, load: float
) -> None:
    minute(clock, machines, 1.0, 3.0)
    machines.append(Machine(stage, name="web-3", address="10.0.0.30").enrol(clock.now()))
    machines[-1].beat(clock.now(), metrics={"load1_per_cpu": 0.0})
    minute(clock, machines, 2.0, 2.0, 2.0)
    assert windows.read(stage, Signal("load1_per_cpu", statistic, 120), at=clock.now()).load == load


def test_it_counts_who_says_nothing(stage: Stage, machines: list[Machine], clock: FakeClock) -> None:
    minute(clock, machines, 1.0, None)
    found = windows.read(stage, LOAD, at=clock.now())
    assert (found.value, found.reporting, found.expected) == (1.0, 1, 2)


def test_it_takes_no_late_host_for_a_measurement(stage: Stage, machines: list[Machine], clock: FakeClock) -> None:
    minute(clock, machines, 1.0, 9.0)
    clock.advance(30)
    machines[0].beat(clock.now(), metrics={"load1_per_cpu": 1.0})
    windows.sample(expiry=expiry(clock.advance(31)))
    assert windows.read(stage, Signal("load1_per_cpu", "max", 60), at=clock.now()).reporting == 1


def test_it_has_no_value_when_nobody_reports(stage: Stage, machines: list[Machine], clock: FakeClock) -> None:
    problem = windows.read(stage, LOAD, at=clock.now()).problem
    assert problem == because(codes.Reading.NOT_REPORTED, metric="load1_per_cpu", seconds=LOAD.window_seconds)
    minute(clock, machines, 1.0, 1.0)
    found = windows.read(stage, LOAD, at=clock.advance(240))
    assert found.value is None
    assert found.problem == because(codes.Reading.REPORTED_BEFORE, metric="load1_per_cpu", seconds=240)


def test_it_turns_counters_into_rates(stage: Stage, machines: list[Machine], clock: FakeClock) -> None:
    for count in (100, 700, 1300, 10):
        minute(clock, machines, count, count * 2, metric="requests_total")
    frames = list(MetricFrame.select().where(MetricFrame.metric == "requests_per_second").order_by(MetricFrame.at))
    assert [round(frame.sum, 3) for frame in frames] == [30, 30]
    assert windows.names(stage, at=clock.now()) == ["requests_per_second"]


def test_it_keeps_longer_frames_for_longer(stage: Stage, machines: list[Machine], clock: FakeClock) -> None:
    for number in range(60):
        minute(clock, machines, float(number), float(number) + 2)
    of_load = MetricFrame.metric == "load1_per_cpu"
    hour = MetricFrame.get((MetricFrame.seconds == windows.HOUR) & of_load)
    assert (hour.at, hour.avg, hour.min, hour.max) == (START, 30.5, 29.5, 31.5)
    assert MetricFrame.select().where((MetricFrame.seconds == windows.FIVE_MINUTES) & of_load).count() == 12
    kept = []
    for age in (dt.timedelta(hours=26), dt.timedelta(days=15), dt.timedelta(days=91)):
        while windows.prune(at=START + age):
            pass
        kept.append(sorted({frame.seconds for frame in MetricFrame.select()}))
    assert kept == [[300, 3600], [3600], []]


def test_it_draws_a_stage_and_a_host(stage: Stage, machines: list[Machine], clock: FakeClock) -> None:
    for value in (1.0, 2.0):
        minute(clock, machines, value, value * 10)
    until = clock.now()
    of_stage = windows.series(stage, "load1_per_cpu", since=START, until=until, at=until)
    assert [(point.at, point.value) for point in of_stage] == [(START, 5.5), (START + MINUTE, 11.0)]
    of_host = windows.series_of_host(machines[1].row, "load1_per_cpu", since=START, until=until, at=until)
    assert [point.value for point in of_host] == [10.0, 20.0]


@pytest.mark.parametrize(
    ("ago", "hours", "seconds"),
    [(1, 1, 60), (12, 12, 60), (24, 24, 300), (72, 72, 300), (168, 168, 3600), (30, 1, 300), (24 * 20, 1, 3600)],
)
def test_it_picks_frames_that_fit_the_span_and_are_still_kept(ago: int, hours: int, seconds: int) -> None:
    since = START - dt.timedelta(hours=ago)
    assert windows.resolution(since, since + dt.timedelta(hours=hours), at=START) == seconds


def test_it_counts_machines(stage: Stage, machines: list[Machine], clock: FakeClock) -> None:
    minute(clock, machines, 1.0, 1.0)
    hosts.change(machines[0].row, actor=ADA, at=clock.now(), is_draining=True)
    ScalingDecision.create(
        stage=stage, at=clock.now(), action="out", from_capacity=2, to_capacity=5, serving=2, reasons=[], readings=[],
        status="acting", token="t",
    )  # fmt: skip
    minute(clock, machines, 1.0, 1.0)
    found = {
        name: [point.value for point in windows.series(stage, name, since=START, until=clock.now(), at=clock.now())]
        for name in windows.CAPACITY
    }
    assert found == {windows.DESIRED: [5], windows.LIVE: [2, 2], windows.ON_RELEASE: [2, 1]}
    assert windows.wanted(stage, at=clock.advance(3600)) == 5
    ScalingDecision.update(status="done").execute()
    assert windows.wanted(stage, at=clock.now()) is None
    assert windows.names(stage, at=clock.now()) == ["load1_per_cpu"]
