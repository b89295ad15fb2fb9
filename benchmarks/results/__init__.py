"""docs/results.md and README's table: `python -m benchmarks.results`."""
