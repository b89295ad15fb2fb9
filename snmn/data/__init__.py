"""Imdbs and features into batches; knows nothing of the network."""
