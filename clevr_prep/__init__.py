"""Makes the data that SNMN trains on: rendered scenes, questions, layouts, features, imdbs."""

import snmn  # noqa: F401  (before PyTorch: see snmn.common.threads)
