"""Asks a Kubernetes API server, as whoever the kubeconfig or the pod's account is; short time limits, plain JSON."""

from __future__ import annotations

import json
from typing import Any

SECONDS = 5
# Names and labels of an object without its content: what a secret holds is never fetched.
_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class ClusterProblem(Exception):
    """The API server cannot be asked, or said no. status: of HTTP, 0 where there was no answer."""

    def __init__(self, what: str, status: int = 0) -> None:
        super().__init__(what)
        self.status = status


class Cluster:
    """One API server. Every method raises ClusterProblem where it is not answered, or refused."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.address = str(client.configuration.host)

    def get(self, path: str, *, metadata_only: bool = False) -> dict[str, Any]:
        return self._ask("GET", path, accept=_METADATA_ONLY if metadata_only else "application/json")

    def items(self, path: str) -> list[dict[str, Any]]:
        """Every object of a list."""
        return list(self.get(path).get("items") or [])

    def may(self, verb: str, resource: str, namespace: str) -> bool:
        """Whether this user may do that there. resource: plural, with its group: "batch/jobs", "/pods/log"."""
        group, _, name = resource.partition("/")
        name, _, part = name.partition("/")
        attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": name, "subresource": part}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        said = self._ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review)
        return bool((said.get("status") or {}).get("allowed"))

    def _ask(self, method: str, path: str, accept: str = "application/json", body: Any = None) -> dict[str, Any]:
        from kubernetes.client.rest import ApiException
        from urllib3.exceptions import HTTPError

        try:
            answer = self._client.call_api(
                path,
                method,
                header_params={"Accept": accept, "Content-Type": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=(SECONDS, SECONDS),  # a float alone would be dropped in silence
            )
            return dict(json.loads(answer.data))
        except ApiException as error:
            raise ClusterProblem(f"{error.status} {error.reason}", int(error.status or 0)) from error
        except (HTTPError, OSError, ValueError) as error:
            raise ClusterProblem(f"{self.address} does not answer ({type(error).__name__})") from error


def connect(context: str, incluster: bool) -> Cluster:
    """As ZenML's orchestrator does: inside the cluster if told so, else by the context of a kubeconfig.

    Raises ClusterProblem where there is neither.
    """
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise ClusterProblem("the package kubernetes is not installed") from error
    configuration = client.Configuration()
    try:
        _load(config, configuration, context, incluster)
    except (config.ConfigException, OSError) as error:
        raise ClusterProblem(str(error)) from error
    configuration.retries = False
    return Cluster(client.ApiClient(configuration))


def _load(config: Any, configuration: Any, context: str, incluster: bool) -> None:
    if incluster:
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            if not context:
                raise
        else:
            return
    config.load_kube_config(context=context or None, client_configuration=configuration)
