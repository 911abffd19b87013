"""Training a student: data, steps, the loop, its guards."""
