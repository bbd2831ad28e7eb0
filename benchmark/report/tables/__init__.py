"""The tables by name, the audit and post-training methods included."""

from benchmark.report.tables.audit import AUDIT
from benchmark.report.tables.layout import TableSpec
from benchmark.report.tables.paper import TABLES
from benchmark.report.tables.posthoc import POSTHOC_TABLE

REPORTS: dict[str, TableSpec] = {spec.name: spec for spec in (*TABLES, AUDIT, POSTHOC_TABLE)}
