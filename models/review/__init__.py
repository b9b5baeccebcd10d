"""Reviewing a challenger: compared with the champion, held against the gates, written down in a dossier."""
