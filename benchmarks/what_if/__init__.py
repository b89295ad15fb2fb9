"""What follows when a step is changed: `python -m benchmarks.what_if`."""
