"""`lungline serve`: checks who could reach the service, finds the model, and serves until it is told to stop."""

from __future__ import annotations

from pathlib import Path

from pipelines.environment import prepare_environment


def serve(model: str | None, token_file: Path | None, no_auth: bool, **limits: object) -> None:
    """Serve a model's champion. limits: fields of ServeSettings."""
    from deploy.serving.settings import ServeSettings, read_token, require_guarded

    token = read_token(token_file)
    require_guarded(str(limits["host"]), token, no_auth)
    environment = prepare_environment()
    from deploy.serving.server import serve as run
    from models.registry.follow import tracking_store
    from models.scoring.champion import only_model

    name = model or only_model(tracking_store(environment.workspace))
    run(environment.workspace, ServeSettings(model=name, token=token, **limits))  # type: ignore[arg-type]
