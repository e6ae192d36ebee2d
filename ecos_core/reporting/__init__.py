"""Figures and the one-page report of a run."""

from ecos_core.reporting.data import (
    ClusteringSummary,
    LakeMap,
    LakeSummary,
    Link,
    Montage,
    PrivacyStatement,
    Quotas,
    ReportData,
    ResultRow,
    Scores,
)
from ecos_core.reporting.geometry import coverage_curve, principal_plane
from ecos_core.reporting.montage import contact_sheet, thumbnail_uri
from ecos_core.reporting.report import render_report

__all__ = [
    "ClusteringSummary",
    "LakeMap",
    "LakeSummary",
    "Link",
    "Montage",
    "PrivacyStatement",
    "Quotas",
    "ReportData",
    "ResultRow",
    "Scores",
    "contact_sheet",
    "coverage_curve",
    "principal_plane",
    "render_report",
    "thumbnail_uri",
]
