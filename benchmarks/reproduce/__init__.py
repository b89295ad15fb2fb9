"""Makes the bundled models again, each with one command: see `benchmarks.reproduce.__main__`."""
