"""What the recipes learn from real radiographs, beside what needs no network to learn."""
