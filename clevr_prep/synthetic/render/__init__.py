"""A path tracer for CLEVR's scenes."""
