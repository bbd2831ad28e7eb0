"""The paper's tables and the audit, and how they are rendered."""
