"""From candidates to durable labels: the store, the runner, the budget, the export."""
