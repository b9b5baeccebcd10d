"""Where Lungline runs: the scoring service and what it needs around it."""
