from __future__ import annotations

import datetime as dt
import hashlib
import os
import subprocess
import sys

import pytest
from flask import Flask
from peewee import Database
from prometheus_client.parser import text_string_to_metric_families

from inventory_service.models import Host, JobTick, Run, ScalingDecision, Stage, StageScaling
from inventory_service.registry import liveness
from inventory_service.scaling import settings, windows
from inventory_service.settings import Settings
from inventory_service.web import scaling_metrics
from inventory_service.web.app import create_app
from tests.support import ADA, Caller, FakeClock, Machine, expiry


def samples(caller: Caller) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(caller.get("/metrics").text)
    return {(item.name, *item.labels.values()): item.value for family in families for item in family.samples}


def test_it_is_healthy_when_it_answers(nobody: Caller) -> None:
    assert (nobody.get("/healthz").status_code, nobody.get("/healthz").json) == (200, {"status": "ok"})


def test_it_is_not_ready_before_the_first_sweep(nobody: Caller) -> None:
    answer = nobody.get("/readyz")
    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
    assert "is the worker running" in answer.json["detail"]
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(("age", "status"), [(0, 200), (60, 200), (61, 503), (-3600, 200)])
def test_it_is_ready_while_the_sweep_runs(nobody: Caller, clock: FakeClock, age: int, status: int) -> None:
    moment = clock.now() - dt.timedelta(seconds=age)
    JobTick.create(name="sweep", next_at=moment, last_finished_at=moment)
    assert nobody.get("/readyz").status_code == status


@pytest.mark.sqlite
def test_it_is_not_ready_without_its_database(nobody: Caller, database: object) -> None:
    JobTick.drop_table()
    assert nobody.get("/readyz").status_code == 503


@pytest.mark.sqlite
def test_it_answers_503_when_the_database_does_not(admin: Caller, stage: object) -> None:
    Run.drop_table()
    answer = admin.get("/api/v1/runs")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert "no such table" not in answer.text


def test_it_counts_hosts_by_state(viewer: Caller, web_1: Machine, web_2: Machine, clock: FakeClock) -> None:
    web_2.beat(clock.advance(301))
    told = samples(viewer)
    assert told["callboard_hosts", "shop/production", "live"] == 1
    assert told["callboard_hosts", "shop/production", "stale"] == 1
    assert told["callboard_hosts_out_of_date", "shop/production"] == 0


def test_it_tells_paused_expiry_and_conflicts(viewer: Caller, web_1: Machine, clock: FakeClock) -> None:
    names = ("callboard_stage_expiry_paused", "callboard_hosts_in_conflict")
    assert [samples(viewer)[name, "shop/production"] for name in names] == [0, 0]
    Host.update(conflict_code="cloned", conflict_params={}).execute()
    Stage.update(expiry_paused_at=clock.now()).execute()
    assert [samples(viewer)[name, "shop/production"] for name in names] == [1, 1]


def test_it_counts_runs_by_status(viewer: Caller, run: Run) -> None:
    assert (samples(viewer)["callboard_runs", "queued"], samples(viewer)["callboard_runs", "failed"]) == (1, 0)


def test_it_shows_what_hosts_report(viewer: Caller, web_1: Machine, web_2: Machine, clock: FakeClock) -> None:
    for number, machine in enumerate((web_1, web_2), start=1):
        machine.beat(clock.advance(10), metrics={"load1_per_cpu": number, "requests_total": 7})
    windows.sample(expiry=expiry(clock.advance(30)))
    told = samples(viewer)
    stage = ("load1_per_cpu", "shop/production")  # labels by name
    by_statistic = {key[3]: value for key, value in told.items() if key[:3] == ("callboard_stage_metric", *stage)}
    assert by_statistic == {"avg": 1.5, "p50": 1.5, "p95": 2, "max": 2, "min": 1, "sum": 3}
    assert told["callboard_stage_metric_reporting_hosts", *stage] == 2
    assert told["callboard_stage_metric_expected_hosts", *stage] == 2
    clock.advance(300)
    assert not [key for key in samples(viewer) if key[0] == "callboard_stage_metric"]


def test_it_bounds_the_series_and_says_so(
    viewer: Caller, web_1: Machine, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling_metrics, "MOST_METRICS", 2)
    web_1.beat(clock.advance(10), metrics={f"gauge_{number}": number for number in range(5)})
    windows.sample(expiry=expiry(clock.advance(30)))
    told = samples(viewer)
    assert {key[1] for key in told if key[0] == "callboard_stage_metric"} == {"gauge_0", "gauge_1"}
    assert told["callboard_stage_metrics_left_out",] == 3


def test_it_shows_how_a_stage_scales(viewer: Caller, stage: Stage, clock: FakeClock) -> None:
    assert not [key for key in samples(viewer) if key[0] == "callboard_scaling_enabled"]
    settings.configure(
        stage, limits={}, policy_texts=[], actuator=None, is_enabled=True, is_dry_run=True, actor=ADA, at=clock.now()
    )
    StageScaling.update(problem_code="other", problem_params={"text": "AWS refused"}, last_out_at=clock.now()).execute()
    ScalingDecision.create(
        stage=stage, at=clock.now(), action="out", from_capacity=2, to_capacity=5, serving=2, reasons=[], readings={},
        status="acting", token="t",
    )  # fmt: skip
    told, name = samples(viewer), "shop/production"
    assert [told[f"callboard_scaling_{word}", name] for word in ("enabled", "dry_run", "failing")] == [1, 1, 1]
    assert told["callboard_hosts_desired", name] == 5
    assert told["callboard_scaling_last_change_timestamp_seconds", "out", name] == clock.now().timestamp()


def test_it_shows_metrics_only_to_who_may_look(nobody: Caller, web_1: Machine) -> None:
    assert nobody.get("/metrics").status_code == 401
    assert Caller(nobody.client, web_1.token).get("/metrics").status_code == 403


def test_it_counts_only_what_the_caller_reaches(stranger: Caller, web_1: Machine, run: Run) -> None:
    told = samples(stranger)
    assert not [key for key in told if "shop/production" in key]
    assert told["callboard_runs", "queued"] == 0


# headers


@pytest.mark.parametrize(
    "path", ["/healthz", "/api/v1/projects", "/api/v1/nothing", "/agent", "/metrics", "/sign-in", "/"]
)
def test_it_hardens_every_answer(nobody: Caller, path: str) -> None:
    headers = nobody.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/projects", "/api/v1/nothing", "/metrics"])
def test_it_lets_api_answers_load_nothing(nobody: Caller, path: str) -> None:
    assert nobody.get(path).headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_it_serves_the_agent_with_its_checksum(nobody: Caller) -> None:
    agent = nobody.get("/agent")
    assert agent.headers["Content-Disposition"] == 'attachment; filename="callboard-agent"'
    assert nobody.get("/agent.sha256").text == f"{hashlib.sha256(agent.data).hexdigest()}  callboard-agent\n"


def test_it_can_be_made_twice(settings: Settings, app: Flask) -> None:
    assert {str(rule) for rule in create_app(settings).url_map.iter_rules()} == {
        str(rule) for rule in app.url_map.iter_rules()
    }


def test_a_web_process_gives_grace_once_it_can_hear(database: Database, app: Flask) -> None:
    """However long it took to load: what nobody could hear is no silence."""
    known: Settings = app.extensions["callboard"].settings
    own = {"CALLBOARD_DATA_DIR": str(known.data_dir), "CALLBOARD_DATABASE_URL": known.database_url}
    load = "from inventory_service.web.app import from_environment; from_environment()"
    began = dt.datetime.now(dt.UTC)
    subprocess.run([sys.executable, "-c", load], env={**os.environ, **own}, check=True)
    assert liveness.expiry(at=began, gone_after_seconds=0).grace_from > began
