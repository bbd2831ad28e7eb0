"""The tables by name, the audit included."""

from benchmark.report.tables.audit import AUDITED, audit, audit_cells
from benchmark.report.tables.layout import TableSpec
from benchmark.report.tables.paper import (
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
    TableSpec(
        "table1",
        "The paper's Table 1",
        "AT with and without RiFT, every dataset and network",
        table_1_cells,
        table_1,
    ),
    TableSpec(
        "table2",
        "The paper's Table 2",
        "TRADES, MART, AWP, SCORE with and without RiFT",
        table_2_cells,
        table_2,
        beyond_first=True,
    ),
    TableSpec("table3", "The paper's Table 3", "which modules are fine-tuned", table_3_cells, table_3),
    TableSpec(
        "table4", "The paper's Table 4", "how many modules are fine-tuned", table_4_cells, table_4
    ),
    TableSpec(
        "audit",
        "Audit",
        "where the gain comes from: RiFT in every reading, controls, and paired intervals",
        audit_cells,
        audit,
        AUDITED,
        audited=True,
    ),
)
REPORTS: dict[str, TableSpec] = {spec.name: spec for spec in _SPECS}
