"""What questions and referring expressions mean, and the grammar that says and reads them."""
