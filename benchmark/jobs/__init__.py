"""Who calls `run.py`: one cell, many processes, a checkpoint of others, the theorems, an export."""
