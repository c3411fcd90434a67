"""Coverage-guided fuzzing of what reads text from outside; what must hold stands in `targets`."""
