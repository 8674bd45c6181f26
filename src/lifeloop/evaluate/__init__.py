"""Splits, ranking metrics, protocols and their report."""

from lifeloop.evaluate.bootstrap import Interval, bootstrap
from lifeloop.evaluate.protocol import Catalogue, evaluate
from lifeloop.evaluate.report import ModelResult, Report
from lifeloop.evaluate.splits import Split, leave_one_out, targets_hash, time_split

__all__ = [
    "Catalogue",
    "Interval",
    "ModelResult",
    "Report",
    "Split",
    "bootstrap",
    "evaluate",
    "leave_one_out",
    "targets_hash",
    "time_split",
]
