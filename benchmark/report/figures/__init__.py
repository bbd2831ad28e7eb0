"""Figures: their cells, their numbers, how they are drawn."""
