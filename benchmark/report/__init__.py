"""Everything that only reads records."""
