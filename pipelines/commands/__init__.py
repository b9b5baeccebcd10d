"""What each command of `lungline` does."""
