"""What a person looks at: points with their words, neighbours, and a map of a sample."""
