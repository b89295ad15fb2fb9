"""Training of the project's own small backbone on rendered scenes."""
