"""Corrupted copies of test sets: made by `generator` (gen-v2), or the published ones (`published`)."""
