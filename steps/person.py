"""Asks ZenML who is signed in: an account where a server knows accounts, else the operating-system user."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import yaml

from data_contracts.errors import ExternalServiceError
from models.registry.decisions.person import ACCOUNT, SERVICE, Person, operating_system_user


def signed_in_person() -> Person:
    """Who runs this. Raises ExternalServiceError where a server is configured and does not say.

    A local ZenML, and a server without authentication, know one default user for everybody; their word is not taken.
    """
    if not _may_be_signed_in():
        return operating_system_user()
    from zenml.client import Client
    from zenml.config.global_config import GlobalConfiguration
    from zenml.enums import AuthScheme, StoreType

    configured = GlobalConfiguration().store_configuration
    if configured.type != StoreType.REST:
        return operating_system_user()
    try:
        client = Client()
        if client.zen_store.get_store_info().auth_scheme == AuthScheme.NO_AUTH:
            return operating_system_user()
        user = client.active_user
    # ZenML raises what its transport raises: its own errors, requests' and KeyError among them.
    except Exception as error:
        raise ExternalServiceError(
            f"The ZenML server does not say who is signed in: {type(error).__name__}.",
            why="A decision needs a name, and where there are accounts no other name will do.",
            cure="Sign in again with `zenml login` (`lungline doctor` shows which server), then run the command again.",
        ) from error
    return Person(name=user.name, kind=SERVICE if user.is_service_account else ACCOUNT, account_id=str(user.id))


def _may_be_signed_in() -> bool:
    """False only where ZenML's own configuration names no server; importing ZenML to ask takes seconds."""
    folder = os.environ.get("ZENML_CONFIG_PATH")
    if "zenml" in sys.modules or not folder or any(name.startswith("ZENML_STORE_") for name in os.environ):
        return True
    config = Path(folder) / "config.yaml"
    if not config.exists():
        return False
    try:
        store = (yaml.safe_load(config.read_text(encoding="utf-8")) or {}).get("store") or {}
        return str(store.get("type", "sql")).lower() != "sql"  # without a store, ZenML keeps its own in SQL
    except (OSError, ValueError, yaml.YAMLError, AttributeError):
        return True
