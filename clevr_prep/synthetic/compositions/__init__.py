"""Questions that test whether a model generalises, as splits of a dataset folder."""
