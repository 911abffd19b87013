"""What a prefix cache is worth to this service's prompts, measured on a real vLLM."""
