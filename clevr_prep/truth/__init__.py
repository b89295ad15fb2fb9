"""What is true of a scene and a question, to compare a model's steps with."""
