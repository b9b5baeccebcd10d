"""Where pipelines run: stacks described by files, and what a run on one of them asks of it."""
