"""Ready-made requests for Qdrant's console, filled in with what this index holds."""
