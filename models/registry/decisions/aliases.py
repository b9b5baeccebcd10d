"""What decisions read and write in the MLflow registry: the aliases of a model, and a tag with its last entry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from models.registry.decisions.entries import Aliases, Line
from models.registry.decisions.log import Head
from models.registry.outage import store_errors
from models.registry.tracking import BUNDLE_TAG, TrackingStore
from models.registry.versions import CHALLENGER, CHAMPION, find_version

PREVIOUS = "previous"
HEAD_TAG = "lungline.decision_head"


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A model as the registry has it now.

    champion_bundle: bundle the champion is registered with; "" without one or where it is not a Lungline bundle.
    head_tag: as it stands there, "" where there is none.
    """

    name: str
    aliases: Aliases
    challenger: str | None
    champion_bundle: str
    head_tag: str

    @property
    def head(self) -> Head | None:
        """The entry the tag speaks of; None where it speaks of none."""
        try:
            return Head.model_validate_json(self.head_tag)
        except ValidationError:
            return None


def registered_models(store: TrackingStore) -> list[RegisteredModel]:
    """Every model in the registry, by name. Raises ExternalServiceError or EnvironmentProblem where it fails."""
    with store_errors(store.tracking_uri):
        return [read_model(store, name) for name in _names(store)]


def read_model(store: TrackingStore, name: str) -> RegisteredModel:
    """One model. Raises ExternalServiceError or EnvironmentProblem where the store fails or does not have it."""
    with store_errors(store.tracking_uri):
        found = store.client.get_registered_model(name)
        aliases = {alias: str(version) for alias, version in found.aliases.items()}
        champion = find_version(store.client, name, CHAMPION) if CHAMPION in aliases else None
    return RegisteredModel(
        name=name,
        aliases=Aliases(champion=aliases.get(CHAMPION), previous=aliases.get(PREVIOUS)),
        challenger=aliases.get(CHALLENGER),
        champion_bundle=champion.tags.get(BUNDLE_TAG, "") if champion else "",
        head_tag=found.tags.get(HEAD_TAG, ""),
    )


def models_with_version(store: TrackingStore, version: str) -> list[str]:
    """The models that have a version of that number. Raises ExternalServiceError or EnvironmentProblem."""
    with store_errors(store.tracking_uri):
        return [name for name in _names(store) if find_version(store.client, name, version)]


def move_aliases(store: TrackingStore, name: str, target: Aliases) -> None:
    """Point the aliases there; repeating it changes nothing. The champion moves last."""
    with store_errors(store.tracking_uri):
        for alias, version in ((PREVIOUS, target.previous), (CHAMPION, target.champion)):
            if version is None:
                store.client.delete_registered_model_alias(name, alias)
            else:
                store.client.set_registered_model_alias(name, alias, version)


def retire_challenger(store: TrackingStore, name: str, version: str) -> None:
    """Take the alias challenger from a version that was decided about; another challenger keeps it."""
    with store_errors(store.tracking_uri):
        if str(store.client.get_registered_model(name).aliases.get(CHALLENGER)) == version:
            store.client.delete_registered_model_alias(name, CHALLENGER)


def write_head(store: TrackingStore, name: str, head: Head) -> None:
    """Note the model's last entry in the registry, where whoever can only write files cannot change it."""
    with store_errors(store.tracking_uri):
        store.client.set_registered_model_tag(name, HEAD_TAG, head.model_dump_json())


def last_lines(lines: tuple[Line, ...], name: str) -> list[Line]:
    """The last two lines about a model, oldest first."""
    return [line for line in lines if line.entry.kind != "genesis" and line.entry.model == name][-2:]


def _names(store: TrackingStore) -> Iterator[str]:
    token = None
    while True:
        page = store.client.search_registered_models(page_token=token, order_by=["name ASC"])
        yield from (model.name for model in page)
        token = page.token
        if not token:
            return
