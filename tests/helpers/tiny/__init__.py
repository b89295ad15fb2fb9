"""Everything in small: a dataset, features, models, results and the demo, for tests to use."""
