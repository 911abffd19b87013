"""Hostile files of every format, and a command that says what became of each."""
