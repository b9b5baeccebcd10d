"""How much each parameter mattered in a study."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from models.training.search.results import TRIALS_FOR_IMPORTANCE, TrialRecord
from models.training.search.settings import LogRange, SearchSettings


def importance(trials: Sequence[TrialRecord], settings: SearchSettings) -> tuple[dict[str, float], str]:
    """(share of each parameter, most important first; "") or ({}, why it is undefined)."""
    import optuna

    complete = [trial for trial in trials if trial.value is not None]
    if len(complete) < TRIALS_FOR_IMPORTANCE:
        return {}, f"{len(complete)} complete trials are fewer than {TRIALS_FOR_IMPORTANCE}"
    if len({trial.value for trial in complete}) == 1:
        return {}, "all trials have the same value"
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.CategoricalDistribution(space)
        if isinstance(space, list)
        else optuna.distributions.FloatDistribution(space.low, space.high, log=isinstance(space, LogRange))
        for name, space in settings.spaces.items()
    }
    study = optuna.create_study(direction="maximize")
    for trial in complete:
        study.add_trial(
            optuna.create_trial(params=trial.parameters, distributions=distributions, value=trial.value)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few trials: the reasons above say when they are too few
        shares = optuna.importance.get_param_importances(study)
    # The order of equal shares would depend on a set's; rounding hides what differs between processors.
    ranked = sorted(shares.items(), key=lambda share: (-share[1], share[0]))
    return {name: round(share, 3) for name, share in ranked}, ""
