"""What there is to make: scales, plans of their cells, and which of them are made."""
