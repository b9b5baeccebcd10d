"""`python -m pipelines.cli`, for environments where the command `lungline` was not installed."""

from pipelines.cli import main

if __name__ == "__main__":
    main()
