"""From a question and an image to what is shown of the answer."""
