"""From a question to a written answer: expand, search, pack, write, check."""
