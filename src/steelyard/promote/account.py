"""Who talks to an MLflow server, as far as the server knows.

Belongs here: asking a server that checks identities. Not here: what a person writes into a tag.
"""

from __future__ import annotations


def account_of(tracking_uri: str) -> str | None:
    """Return the user that an MLflow server with basic authentication takes us for, None where nobody checks.

    Raises `ServiceError` when the server turns the credentials away.
    """
    if not tracking_uri.startswith(("http:", "https:")):
        return None
    from mlflow.utils.rest_utils import http_request

    from steelyard.errors import ServiceError
    from steelyard.tracking import open_client, service_errors

    open_client(tracking_uri)  # sets what keeps MLflow's requests short
    from mlflow.utils.credentials import get_default_host_creds

    with service_errors(tracking_uri):
        response = http_request(
            host_creds=get_default_host_creds(tracking_uri), endpoint="/api/2.0/mlflow/users/current", method="GET"
        )
    if response.status_code in {401, 403}:
        raise ServiceError(
            "the MLflow server does not accept the user or the password",
            remedy="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        )
    if not response.ok:
        return None
    return str(response.json()["user"]["username"])
