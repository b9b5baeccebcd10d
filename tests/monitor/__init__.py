"""The honest test of the drift monitor: how often it cries wolf, and which shifts it sees."""
