"""What a client sees when a part of the service fails: the collection, the engine process, the reranker."""
