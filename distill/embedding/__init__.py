"""Fine-tunes the dense encoder: pairs or a teacher's lists in, a sentence-transformers folder out."""
