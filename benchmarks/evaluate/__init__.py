"""Before and after: the same candidates, two rerankers, one report (``bash benchmarks/evaluate.sh``)."""
