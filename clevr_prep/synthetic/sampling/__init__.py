"""What is asked about a scene: questions and referring expressions drawn, answered and balanced."""
