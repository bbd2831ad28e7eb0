"""Datasets from archives and the network, and what is here of them."""
