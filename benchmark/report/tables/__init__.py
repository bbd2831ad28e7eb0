"""The tables by name, the audit included (no torch)."""

from benchmark.report.tables.audit import AUDITED, audit, audit_cells
from benchmark.report.tables.tables import (
    TableSpec,
    table_1,
    table_1_cells,
    table_2,
    table_2_cells,
    table_3,
    table_3_cells,
    table_4,
    table_4_cells,
)

_SPECS = (
    TableSpec("table1", "AT with and without RiFT, every dataset and network", table_1_cells, table_1),
    TableSpec("table2", "TRADES, MART, AWP, SCORE with and without RiFT", table_2_cells, table_2),
    TableSpec("table3", "which modules are fine-tuned", table_3_cells, table_3),
    TableSpec("table4", "how many modules are fine-tuned", table_4_cells, table_4),
    TableSpec(
        "audit",
        "where the gain comes from: RiFT in every reading, controls, and paired intervals",
        audit_cells,
        audit,
        AUDITED,
        audited=True,
    ),
)
REPORTS: dict[str, TableSpec] = {spec.name: spec for spec in _SPECS}
