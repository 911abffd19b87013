"""Candidates for the teacher, from the live index."""
