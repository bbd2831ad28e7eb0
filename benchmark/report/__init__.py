"""Everything that only reads records (no torch)."""
