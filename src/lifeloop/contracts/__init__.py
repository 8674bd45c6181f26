"""The shared words: what the parts of lifeloop hand each other."""

from lifeloop.contracts.answers import (
    Evidence,
    Prediction,
    Recommendation,
    Recommendations,
    StageResult,
)
from lifeloop.contracts.findings import Finding, Severity
from lifeloop.contracts.history import Changes, History, Snapshot
from lifeloop.contracts.intake import (
    Alias,
    AliasKind,
    ErasureReport,
    IdentityReport,
    IngestReport,
    Reason,
    Repair,
)
from lifeloop.contracts.models import (
    Candidates,
    Encoder,
    FittedRetriever,
    Predicted,
    Queries,
    Retriever,
    Situations,
    TrainData,
    Written,
)
from lifeloop.contracts.policy import Decision, PolicyState, Slate
from lifeloop.contracts.retention import Cutoffs, Expired
from lifeloop.contracts.store import Head, Kept, Lake, LakeReport, Profile, Store
from lifeloop.contracts.tables import Column, ColumnKind, Table
from lifeloop.contracts.words import UNTIMED, Bool, Double, Float, Int, Long, Progress, silent
from lifeloop.events.records import QuarantinedRow

__all__ = [
    "UNTIMED",
    "Alias",
    "AliasKind",
    "Bool",
    "Candidates",
    "Changes",
    "Column",
    "ColumnKind",
    "Cutoffs",
    "Decision",
    "Double",
    "Encoder",
    "ErasureReport",
    "Evidence",
    "Expired",
    "Finding",
    "FittedRetriever",
    "Float",
    "Head",
    "History",
    "IdentityReport",
    "IngestReport",
    "Int",
    "Kept",
    "Lake",
    "LakeReport",
    "Long",
    "PolicyState",
    "Predicted",
    "Prediction",
    "Profile",
    "Progress",
    "QuarantinedRow",
    "Queries",
    "Reason",
    "Recommendation",
    "Recommendations",
    "Repair",
    "Retriever",
    "Severity",
    "Situations",
    "Slate",
    "Snapshot",
    "StageResult",
    "Store",
    "Table",
    "TrainData",
    "Written",
    "silent",
]
