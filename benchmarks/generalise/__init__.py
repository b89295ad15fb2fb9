"""Tests of generalisation: `python -m benchmarks.generalise`."""
