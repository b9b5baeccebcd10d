"""Reports people read: one self-contained HTML file per run, review or data check."""
