"""Teaches a reranker from an LLM: labels, students, losses, gates, models."""
