"""What the API answers and the pages show, one module for each noun, described once."""

from __future__ import annotations

from inventory_service.web.answers.account import Caller, User
from inventory_service.web.answers.automation import (
    Delivery,
    NewWebhook,
    Notification,
    Received,
    Schedule,
    Sent,
    Webhook,
    WebhookWithDeliveries,
)
from inventory_service.web.answers.base import Answer, Page, page, whole
from inventory_service.web.answers.comparison import (
    Commit,
    CommitDiff,
    FileChange,
    HostDiff,
    HostDifference,
    Pair,
    RunDiff,
    TaskDiff,
    TaskHost,
    TaskResult,
    TaskSide,
)
from inventory_service.web.answers.event import AuditEntry, Event
from inventory_service.web.answers.host import (
    Enrolled,
    Gone,
    Host,
    HostWithHistory,
    LastHeartbeat,
    LastHeartbeats,
    Renewed,
    Rotated,
    RunOfHost,
    Transition,
)
from inventory_service.web.answers.launch import Check, Finding, Playbook, Prompt, Prompts
from inventory_service.web.answers.metric import Chart, MetricNames, MetricPoint, Series
from inventory_service.web.answers.plain import EXPORT, INVENTORY, NOT_MODIFIED, TOO_MANY, text
from inventory_service.web.answers.project import Project, ProjectWithStages
from inventory_service.web.answers.release import DesiredRelease, Release
from inventory_service.web.answers.run import Launched, Queue, Recorded, Run, RunHost, RunWithHosts
from inventory_service.web.answers.scaling import (
    Backtest,
    BacktestResult,
    LifecycleAction,
    Scaling,
    ScalingDecision,
    ScalingFinding,
)
from inventory_service.web.answers.secret import Secret
from inventory_service.web.answers.stage import Expired, ExpiryPaused, Lock, Stage
from inventory_service.web.answers.token import ApiToken, JoinToken, NewApiToken, NewJoinToken
from inventory_service.web.answers.variable import RunVariables, StageVariables, Variable, VariableChange, VariableValue

__all__ = [
    "EXPORT",
    "INVENTORY",
    "NOT_MODIFIED",
    "TOO_MANY",
    "Answer",
    "ApiToken",
    "AuditEntry",
    "Backtest",
    "BacktestResult",
    "Caller",
    "Chart",
    "Check",
    "Commit",
    "CommitDiff",
    "Delivery",
    "DesiredRelease",
    "Enrolled",
    "Event",
    "Expired",
    "ExpiryPaused",
    "FileChange",
    "Finding",
    "Gone",
    "Host",
    "HostDiff",
    "HostDifference",
    "HostWithHistory",
    "JoinToken",
    "LastHeartbeat",
    "LastHeartbeats",
    "Launched",
    "LifecycleAction",
    "Lock",
    "MetricNames",
    "MetricPoint",
    "NewApiToken",
    "NewJoinToken",
    "NewWebhook",
    "Notification",
    "Page",
    "Pair",
    "Playbook",
    "Project",
    "ProjectWithStages",
    "Prompt",
    "Prompts",
    "Queue",
    "Received",
    "Recorded",
    "Release",
    "Renewed",
    "Rotated",
    "Run",
    "RunDiff",
    "RunHost",
    "RunOfHost",
    "RunVariables",
    "RunWithHosts",
    "Scaling",
    "ScalingDecision",
    "ScalingFinding",
    "Schedule",
    "Secret",
    "Sent",
    "Series",
    "Stage",
    "StageVariables",
    "TaskDiff",
    "TaskHost",
    "TaskResult",
    "TaskSide",
    "Transition",
    "User",
    "Variable",
    "VariableChange",
    "VariableValue",
    "Webhook",
    "WebhookWithDeliveries",
    "page",
    "text",
    "whole",
]
