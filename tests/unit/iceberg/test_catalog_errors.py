"""Errors of catalogs: one line each, with what to do."""

from __future__ import annotations

import re
import sqlite3

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, PartialCredentialsError
from pyiceberg.exceptions import AuthorizationExpiredError, ForbiddenError, RESTError
from requests import ConnectTimeout
from sqlalchemy.exc import OperationalError
from thrift.transport.TTransport import TTransportException

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.catalog_errors import catalog_errors, describe_catalog_error
from ohlcv.iceberg.rest_catalog import RestProtocolError

LAKE = {"OHLCV_CATALOG": "lake", "HOME": "/nonexistent"}
GLUE = {**LAKE, "PYICEBERG_CATALOG__LAKE__TYPE": "glue"}
HIVE = {**LAKE, "PYICEBERG_CATALOG__LAKE__URI": "thrift://hms:9083"}
SQLITE = {"OHLCV_HOME": "/nonexistent"}
POSTGRESQL = {"OHLCV_CATALOG_URI": "postgresql://candles@host/market", "OHLCV_CATALOG_PASSWORD": "hunter2"}
REST = {"OHLCV_CATALOG_URI": "http://rest", "OHLCV_CATALOG_TOKEN": "hunter2"}
AWS = "check the credentials of AWS (AWS_ACCESS_KEY_ID, AWS_PROFILE or the role of the machine)"


def aws_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "GetTable")


def sql_error(message: str) -> OperationalError:
    return OperationalError("SELECT 'hunter2'", {}, sqlite3.OperationalError(message))


@pytest.mark.parametrize(
    ("environment", "error", "message"),
    [
        (GLUE, aws_error("AccessDeniedException"), f"the catalog AWS Glue denies access (…): {AWS}"),
        (GLUE, aws_error("ExpiredTokenException"), f"the catalog AWS Glue denies access (…): {AWS}"),
        (
            GLUE,
            PartialCredentialsError(provider="env", cred_var="key"),
            f"the catalog AWS Glue denies access (…): {AWS}",
        ),
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
        (
            REST,
            RESTError("IllegalArgumentException: hunter2"),
            "the catalog http://rest answers with an error (…): check OHLCV_CATALOG_URI and OHLCV_WAREHOUSE",
        ),
        (
            REST,
            RestProtocolError("ValidationError while reading a response"),
            "the catalog http://rest is not an Iceberg REST catalog…: check OHLCV_CATALOG_URI",
        ),
        (
            REST,
            ConnectTimeout("hunter2"),
            "the catalog http://rest does not answer (…): check OHLCV_CATALOG_URI",
        ),
        (
            SQLITE,
            sql_error("database is locked"),
            "the catalog sqlite:…catalog.db is locked by another process, waited 60 s: wait until that process ends, "
            "or end it, and start again",
        ),
        (
            SQLITE,
            sql_error("attempt to write a readonly database"),
            "the catalog sqlite:…catalog.db is not writable: grant access to the file and its folder",
        ),
        (
            SQLITE,
            sql_error("unable to open"),
            "the catalog sqlite:… does not answer (unable to open): check OHLCV_CATALOG_URI",
        ),
        *(
            (POSTGRESQL, sql_error(text), "the catalog postgresql://…denies access (…): check OHLCV_CATALOG_PASSWORD")
            for text in (
                'connection failed: FATAL:  password authentication failed for user "candles"',
                "connection failed: fe_sendauth: no password supplied",
                'connection failed: FATAL:  role "candles" does not exist',
                "permission denied for table iceberg_tables",
            )
        ),
        (REST, ForbiddenError("hunter2"), "the catalog http://rest denies access (…): check OHLCV_CATALOG_TOKEN"),
    ],
)
def test_an_error_of_a_catalog_is_one_line_with_a_remedy(
    environment: dict[str, str], error: Exception, message: str
) -> None:
    assert isinstance(error, catalog_errors())
    found = describe_catalog_error(load_settings(environment), error)
    assert re.fullmatch(".*".join(map(re.escape, message.split("…"))), found), found
    assert "\n" not in found
    assert "hunter2" not in found
