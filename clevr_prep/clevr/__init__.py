"""What CLEVR's files say: questions, programs, scenes, expert layouts."""
