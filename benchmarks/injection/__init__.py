"""Attacks on the prompt by what documents say: what gets through by structure, and with a model."""
