"""Everything about a network: architecture, training, evaluation, explanation, registry, reports."""
