"""The nouns and their files: cells, records, specs, the store."""
