"""Corrupted copies of test sets: made by `generator` (gen-v1), or the published ones (`official`)."""
