"""The demo: a page and an API that show how the network computes an answer."""
