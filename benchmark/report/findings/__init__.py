"""results/README.md: what was found, scale by scale, written from records."""
