"""What `test.py` wrote about a test, to walk through: its questions, filtered, and their images."""
