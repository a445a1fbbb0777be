"""Pairs of views with known geometry, for experiments with trainers that are not told it."""
