"""The index moved elsewhere: pushed to a Qdrant server, or kept in a snapshot."""
