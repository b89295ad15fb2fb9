"""Questions and referring expressions: meanings, the grammar, and what is asked about a scene."""
