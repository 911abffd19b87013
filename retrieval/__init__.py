"""Questions to ranked passages and cited answers: search, rerank, answer, adapters."""
