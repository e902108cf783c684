"""Errors of catalogs: one line each, with what to do."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from pyiceberg.exceptions import AuthorizationExpiredError, ForbiddenError
from thrift.transport.TTransport import TTransportException

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.catalog_errors import CATALOG_ERRORS, describe_catalog_error

LAKE = {"OHLCV_CATALOG": "lake", "HOME": "/nonexistent"}
GLUE = {**LAKE, "PYICEBERG_CATALOG__LAKE__TYPE": "glue"}
HIVE = {**LAKE, "PYICEBERG_CATALOG__LAKE__URI": "thrift://hms:9083"}
REST = {"OHLCV_CATALOG_URI": "http://rest", "OHLCV_CATALOG_TOKEN": "hunter2"}
AWS = "check the credentials of AWS (AWS_ACCESS_KEY_ID, AWS_PROFILE or the role of the machine)"


def aws_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "GetTable")


@pytest.mark.parametrize(
    ("environment", "error", "message"),
    [
        (GLUE, aws_error("AccessDeniedException"), f"the catalog AWS Glue denies access (…): {AWS}"),
        (GLUE, aws_error("ExpiredTokenException"), f"the catalog AWS Glue denies access (…): {AWS}"),
        (GLUE, NoCredentialsError(), f"the catalog AWS Glue denies access (…): {AWS}"),
        (
            GLUE,
            aws_error("InvalidInputException"),
            "the catalog AWS Glue answers with an error (…): check the properties of the catalog lake",
        ),
        (
            GLUE,
            EndpointConnectionError(endpoint_url="http://glue"),
            "the catalog AWS Glue does not answer (…): check 'uri' of the catalog lake",
        ),
        (
            HIVE,
            TTransportException(message="Could not connect"),
            "the catalog thrift://hms:9083 does not answer (…): check 'uri' of the catalog lake",
        ),
        (
            REST,
            AuthorizationExpiredError("old"),
            "the catalog http://rest denies access (…): check OHLCV_CATALOG_TOKEN",
        ),
        (REST, ForbiddenError("hunter2"), "the catalog http://rest denies access (…): check OHLCV_CATALOG_TOKEN"),
    ],
)
def test_an_error_of_a_catalog_is_one_line_with_a_remedy(
    environment: dict[str, str], error: Exception, message: str
) -> None:
    assert isinstance(error, CATALOG_ERRORS)
    found = describe_catalog_error(load_settings(environment), error)
    before, after = message.split("…")
    assert found.startswith(before)
    assert found.endswith(after)
    assert "\n" not in found
    assert "hunter2" not in found
