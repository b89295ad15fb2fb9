"""The commands that turn a dataset into features, layouts and imdbs."""
