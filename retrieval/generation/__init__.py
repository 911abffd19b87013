"""Language models behind one protocol, spoken to over the OpenAI HTTP API."""
