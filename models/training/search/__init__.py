"""Search for hyper-parameters: which are tried, how a study is kept, and what came of it. Optuna is used only here."""
