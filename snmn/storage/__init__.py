"""Files that appear whole or not at all, and are read without trusting who made them."""
