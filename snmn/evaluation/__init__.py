"""Scores, and whether what a model shows is what it does."""
