"""Speed of rerankers on a CPU: peers and our path on the same weights and pairs, in one run."""
