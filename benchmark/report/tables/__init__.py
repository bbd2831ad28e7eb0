"""The tables by name, the audit included."""

from benchmark.report.tables.audit import AUDIT
from benchmark.report.tables.layout import TableSpec
from benchmark.report.tables.paper import TABLES

REPORTS: dict[str, TableSpec] = {spec.name: spec for spec in (*TABLES, AUDIT)}
