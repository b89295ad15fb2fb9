"""The demo: a page and an API that show how the network computes an answer."""

import snmn  # noqa: F401  (before PyTorch: see snmn.common.threads)
