"""Weights from files: the registry, safe loading, fitting to a network, RobustBench."""
