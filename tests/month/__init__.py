"""A month of a model in use, simulated day by day: quiet weeks, another scanner, inverted images, recovery."""
