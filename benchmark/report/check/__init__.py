"""Claims of the paper and published numbers against the records of a scale."""
