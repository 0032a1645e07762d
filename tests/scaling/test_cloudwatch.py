"""Policies that read CloudWatch, against moto."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import boto3
import pytest

from inventory_service.adapters.ec2 import Cloud, Measured, MetricQuery
from inventory_service.codes import scaling as codes
from inventory_service.errors import InvalidError
from inventory_service.models import ScalingDecision, StageScaling
from inventory_service.reasons import because
from inventory_service.scaling import policies, windows
from inventory_service.scaling.policies import Signal
from inventory_service.scaling.readings import reading_of
from tests.scaling.conftest import REGION, TARGET, World
from tests.support import START

SOURCE = {"namespace": "AWS/SQS", "name": "ApproximateNumberOfMessagesVisible", "dimensions": {"QueueName": "jobs"}}
QUEUE = {"type": "target", "name": "jobs", "metric": "jobs", "statistic": "sum", "target": 100, "cloudwatch": SOURCE}
MINUTE = dt.timedelta(minutes=1)


@dataclasses.dataclass
class Queue:
    """What CloudWatch is told of the queue of jobs."""

    world: World
    client: Any

    def put(self, value: float, *, minutes_ago: float = 2, name: str = str(SOURCE["name"])) -> None:
        at = self.world.clock.now() - minutes_ago * MINUTE
        one = {"MetricName": name, "Timestamp": at, "Value": value}
        one["Dimensions"] = [{"Name": "QueueName", "Value": "jobs"}]
        self.client.put_metric_data(Namespace="AWS/SQS", MetricData=[one])


@pytest.fixture
def queue(group: World, moto: str) -> Queue:
    """The group of two scales by the queue alone."""
    group.configure(StageScaling.get().actuator, policy_texts=[QUEUE])
    client = boto3.session.Session(region_name=REGION).client("cloudwatch", endpoint_url=moto)
    return Queue(group, client)


def last() -> ScalingDecision:
    return ScalingDecision.select().order_by(ScalingDecision.id.desc()).get()


def test_what_cloudwatch_measures_makes_the_group_larger(queue: Queue) -> None:
    queue.put(350)
    queue.world.look()
    assert (queue.world.aws.desired, last().status) == (4, "done")
    (reading,), (reason,) = last().readings, last().reasons
    assert (reading["statistic"], reading["metric"], reading["value"]) == ("sum", "cloudwatch.jobs", 350)
    assert (reason["code"], reason["value"], reason["target"], reason["capacity"]) == ("target_above", 350, 100, 4)


def test_what_was_seen_is_kept_in_the_windows(queue: Queue) -> None:
    queue.put(150)
    queue.world.look()
    at = queue.world.clock.now()
    assert windows.names(queue.world.stage, at=at) == ["cloudwatch.jobs"]
    (point,) = windows.series(queue.world.stage, "cloudwatch.jobs", since=at - 5 * MINUTE, until=at, at=at)
    assert (point.value, point.at) == (150, windows.floor(at, 60) - MINUTE)


def test_it_takes_the_mean_of_the_window(queue: Queue) -> None:
    for minutes, value in ((2, 100), (3, 200), (4, 300), (12, 9000)):
        queue.put(value, minutes_ago=minutes)
    queue.world.look()
    assert [reading["value"] for reading in last().readings] == [200]


@pytest.mark.parametrize(
    ("minutes_ago", "code"), [(None, "cloudwatch_empty"), (8, "cloudwatch_old"), (-10, "cloudwatch_empty")]
)
def test_no_host_goes_without_a_value_of_now(queue: Queue, minutes_ago: float | None, code: str) -> None:
    queue.put(5, name="Other")
    if minutes_ago is not None:
        queue.put(5, minutes_ago=minutes_ago)
    queue.world.configure(StageScaling.get().actuator, policy_texts=[QUEUE, TARGET])
    queue.world.minute(0.01)
    assert (last().action, queue.world.aws.desired) == ("hold", 2)
    problems = {reading["metric"]: reading["problem"] and reading["problem"]["code"] for reading in last().readings}
    assert problems == {"cloudwatch.jobs": code, "load1_per_cpu": None}
    assert last().reasons[-1] == {"code": "reading_missing", "policies": ["jobs"]}


def test_an_empty_queue_lets_a_host_go(queue: Queue) -> None:
    queue.put(0)
    queue.world.look()
    assert (last().action, last().to_capacity) == ("in", 1)


def test_a_call_that_fails_changes_nothing_and_says_so(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, moto: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", "http://127.0.0.1:9")
    queue.world.cloud_of = functools.cache(lambda region: Cloud(region, attempts=1))
    queue.put(900)
    queue.world.look()
    row = StageScaling.get()
    assert (row.problem_code, row.problem_params["about"]) == ("aws_unreachable", "metrics of CloudWatch")
    assert (ScalingDecision.select().count(), queue.world.aws.desired) == (0, 2)
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", moto)
    queue.world.cloud_of = functools.cache(Cloud)
    queue.world.look()
    assert (StageScaling.get().problem_code, queue.world.aws.desired) == (None, 6)


def test_more_metrics_than_fit_into_a_call_are_all_read(queue: Queue) -> None:
    queue.put(7)
    known = MetricQuery("AWS/SQS", SOURCE["name"], (("QueueName", "jobs"),), "Average", 60)  # type: ignore[arg-type]
    others = [dataclasses.replace(known, name=f"other {number}") for number in range(501)]
    at = queue.world.clock.now()
    found = Cloud(REGION).metric_data([*others, known], since=at - 5 * MINUTE, until=at)
    assert (len(found), [value for _, value in found[known].points]) == (502, [7])


class Pages(BaseHTTPRequestHandler):
    """CloudWatch where moto is too plain: it throttles the first call, then answers in two pages, the second forbidden
    for the metric `secret`.
    """

    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        number, at = len(self.asked), int(START.timestamp())
        if number == 1:
            return self._answer(400, {"__type": "ThrottlingException", "message": "Rate exceeded"})
        if "NextToken" not in self.asked[-1]:
            first = {"Id": "m0", "Timestamps": [at], "Values": [1], "StatusCode": "PartialData"}
            return self._answer(200, {"MetricDataResults": [first], "NextToken": "more"})
        second = {"Id": "m0", "Timestamps": [at + 60], "Values": [2], "StatusCode": "Complete"}
        secret = {"Id": "m1", "Timestamps": [], "Values": [], "StatusCode": "Forbidden"}
        secret["Messages"] = [{"Code": "Forbidden", "Value": "not yours"}]
        return self._answer(200, {"MetricDataResults": [second, secret]})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


def test_it_tries_again_when_throttled_and_reads_every_page(aws: object, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", f"http://127.0.0.1:{server.server_port}")
    queries = [MetricQuery("AWS/SQS", name, (), "Average", 60) for name in ("jobs", "secret")]
    found = Cloud(REGION).metric_data(queries, since=START, until=START + 5 * MINUTE)
    server.shutdown()
    assert found[queries[0]] == Measured(((START, 1.0), (START + MINUTE, 2.0)))
    assert found[queries[1]].problem == "Forbidden not yours"
    assert [asked.get("NextToken") for asked in Pages.asked] == [None, None, "more"]


def test_numbers_that_are_none_and_parts_do_not_count() -> None:
    signal = policies.parse(QUEUE).signal  # type: ignore[union-attr]
    points = ((START - 2 * MINUTE, float("nan")), (START - 3 * MINUTE, float("inf")), (START + MINUTE, 5.0))
    assert signal.source is not None
    assert reading_of(signal, signal.source, Measured(points), at=START).value is None
    assert reading_of(signal, signal.source, Measured((*points, (START - MINUTE, 4.0))), at=START).value == 4
    partly = reading_of(signal, signal.source, Measured(((START, 4.0),), "InternalError busy"), at=START)
    unsure = {"metric": signal.metric, "text": "InternalError busy"}
    assert (partly.value, partly.problem) == (None, because(codes.Reading.CLOUDWATCH_UNSURE, **unsure))


def test_a_policy_says_where_its_metric_comes_from() -> None:
    found = policies.parse(QUEUE)
    query = MetricQuery("AWS/SQS", "ApproximateNumberOfMessagesVisible", (("QueueName", "jobs"),), "Average", 60)
    assert found.signal == Signal("cloudwatch.jobs", "sum", 300, query)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "loc"),
    [
        ({"cloudwatch": "AWS/SQS"}, "cloudwatch"),
        ({"cloudwatch": {}}, "cloudwatch.namespace"),
        ({"cloudwatch": {**SOURCE, "namespace": "a;b"}}, "cloudwatch.namespace"),
        ({"cloudwatch": {**SOURCE, "name": ""}}, "cloudwatch.name"),
        ({"cloudwatch": {**SOURCE, "dimensions": {"QueueName": ""}}}, "cloudwatch.dimensions"),
        ({"cloudwatch": {**SOURCE, "dimensions": ["QueueName"]}}, "cloudwatch.dimensions"),
        ({"cloudwatch": {**SOURCE, "dimensions": {str(number): "x" for number in range(31)}}}, "cloudwatch.dimensions"),
        ({"cloudwatch": {**SOURCE, "statistic": "Mean"}}, "cloudwatch.statistic"),
        ({"cloudwatch": {**SOURCE, "period": 90}}, "cloudwatch.period"),
        ({"cloudwatch": {**SOURCE, "period": 86400}}, "cloudwatch.period"),
        ({"cloudwatch": {**SOURCE, "region": "x"}}, "cloudwatch.region"),
        ({"statistic": "p95"}, "statistic"),
    ],
)
def test_it_rejects_nonsense_and_names_the_field(change: dict[str, Any], loc: str) -> None:
    with pytest.raises(InvalidError) as caught:
        policies.parse({**QUEUE, **change})
    (error,) = caught.value.errors
    assert ".".join(map(str, error["loc"])) == loc  # type: ignore[call-overload]


def test_it_rejects_two_metrics_of_one_name() -> None:
    other = {**QUEUE, "name": "other", "cloudwatch": {**SOURCE, "period": 300}}
    with pytest.raises(InvalidError, match="called the same"):
        policies.parse_all([QUEUE, other])
    assert policies.parse_all([QUEUE, {**QUEUE, "name": "other"}])
