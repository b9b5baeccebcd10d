"""The HTTP scoring service: the champion behind limits, every answer on record."""
