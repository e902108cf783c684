"""The cause of a catalog's error is recognized in the texts of both clients, and each has a remedy."""

from __future__ import annotations

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.model.catalog_causes import Cause, find_cause
from ohlcv.model.catalog_chain import StepResult
from ohlcv.monitoring.catalog_remedies import describe_result

# Texts that the libraries raised on real servers, shortened.
RECORDED = [
    (Cause.UNREACHABLE, "ConnectionRefusedError: [Errno 111] Connection refused"),
    (Cause.UNREACHABLE, "HttpHostConnectException: Connect to http://127.0.0.1:9 failed: Connection refused"),
    (Cause.UNREACHABLE, "gaierror: failed to resolve host 'no.such.host'"),
    (
        Cause.UNREACHABLE,
        "PSQLException: Connection to 127.0.0.1:9 refused. Check that the hostname and port are correct",
    ),
    (Cause.LOGIN, "UnauthorizedError: NotAuthorizedException: the token has expired"),
    (Cause.LOGIN, "NotAuthorizedException: Not authorized: the token has expired"),
    (Cause.LOGIN, "OAuthError: invalid_client: Client authentication failed"),
    (Cause.LOGIN, 'PSQLException: FATAL: password authentication failed for user "candles"'),
    (
        Cause.LOGIN,
        "GlueException: The security token included in the request is invalid. (Service: Glue, Status Code: 400",
    ),
    (Cause.NO_CREDENTIAL, "OperationalError: fe_sendauth: no password supplied"),
    (Cause.NO_CREDENTIAL, "NoCredentialsError: Unable to locate credentials"),
    (Cause.FORBIDDEN, "ForbiddenError: ForbiddenException: the principal may not write"),
    (Cause.FORBIDDEN, "ForbiddenException: Forbidden: the principal may not write"),
    (Cause.FORBIDDEN, "ClientError: An error occurred (AccessDeniedException) when calling the CreateTable operation"),
    (Cause.NO_WAREHOUSE, "RESTError: IllegalArgumentException: Warehouse 'x' is not known"),
    (Cause.NO_WAREHOUSE, 'PSQLException: FATAL: database "x" does not exist'),
    (Cause.NO_TABLE, "NoSuchTableException: Table does not exist: market_data.gold_crypto_trades"),
    (Cause.GARBAGE_DISABLED, "ValidationException: Cannot purge table: GC is disabled (deleting files may corrupt)"),
    (Cause.LOCKED, "OperationalError: database is locked"),
    (Cause.STORE_LOGIN, "OSError: When reading: AWS Error SIGNATURE_DOES_NOT_MATCH during HeadObject operation"),
    (Cause.STORE_LOGIN, "S3Exception: The request signature we calculated does not match the signature you provided."),
    (Cause.STORE_FORBIDDEN, "OSError: When initiating: AWS Error ACCESS_DENIED during CreateMultipartUpload operation"),
    (Cause.STORE_FORBIDDEN, "S3Exception: Access Denied (Service: S3, Status Code: 403, Request ID: 1)"),
    (Cause.STORE_UNREACHABLE, "OSError: AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7"),
    (Cause.STORE, "NoSuchBucketException: The specified bucket does not exist (Service: S3, Status Code: 404)"),
    (Cause.OTHER, "RuntimeError: 1 rows are read instead of 2"),
]


@pytest.mark.parametrize(("cause", "text"), RECORDED)
def test_each_cause_is_recognized_and_has_a_remedy(cause: Cause, text: str) -> None:
    # An error that wraps the recorded one.
    errors = ("RuntimeException: the request failed", text)
    assert find_cause(errors) is cause
    catalog = load_settings({"OHLCV_CATALOG_URI": "https://catalog.example/iceberg"}).catalog
    for step in ("reach", "create", "drop"):
        found = describe_result(catalog, StepResult(step, "fault", "market_data.ohlcv_doctor_1", errors))
        assert "\n" not in found
        assert text.partition(": ")[2] in found
        assert "): " in found


@pytest.mark.parametrize(
    ("errors", "remedy"),
    [
        (("ValidationException: GC is disabled",), "the service sets gc.enabled=false and deletes files itself"),
        (("ForbiddenError: DROP_WITH_PURGE",), "grant the principal of the login the purge of tables, or delete"),
    ],
)
def test_a_refused_purge_names_the_remedy(errors: tuple[str, ...], remedy: str) -> None:
    catalog = load_settings({"OHLCV_CATALOG_URI": "https://catalog.example/iceberg"}).catalog
    found = describe_result(catalog, StepResult("drop", "warning", "market_data.ohlcv_doctor_1", errors))
    assert found.startswith("market_data.ohlcv_doctor_1 is dropped, but the purge of its files is not permitted (")
    assert remedy in found


def test_aws_keys_are_named_for_glue_and_signed_requests() -> None:
    for properties in (
        {"TYPE": "glue", "WAREHOUSE": "s3://bucket/candles"},
        {"TYPE": "rest", "URI": "https://glue.example/iceberg", "REST__SIGV4_ENABLED": "true"},
    ):
        variables = {f"PYICEBERG_CATALOG__LAKE__{key}": value for key, value in properties.items()}
        catalog = load_settings({"OHLCV_CATALOG": "lake", **variables}).catalog
        result = StepResult("authenticate", "fault", "", ("NoCredentialsError: Unable to locate credentials",))
        assert describe_result(catalog, result) == (
            f"the catalog {catalog} refuses the keys of AWS (Unable to locate credentials): "
            "set or correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role of the machine"
        )


def test_no_secret_remains_where_a_long_message_is_cut() -> None:
    secret = "hunter2-" * 20
    catalog = load_settings(
        {"OHLCV_CATALOG_URI": "https://catalog.example/iceberg", "OHLCV_CATALOG_TOKEN": secret}
    ).catalog
    for length in (100, 250):
        errors = (f"RESTError: {'x' * length}{secret}",)
        assert "hunter2" not in describe_result(catalog, StepResult("list", "fault", "market_data", errors))
