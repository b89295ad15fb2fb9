"""Rendered CLEVR: scenes, a path tracer, questions with programs, and datasets of them."""
