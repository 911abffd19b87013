"""Runs vLLM: a server of its own, in an environment of its own, spoken to over HTTP."""
