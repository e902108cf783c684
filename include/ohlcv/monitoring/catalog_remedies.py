"""Texts of the catalog check: what was found, and what to do about each problem of each kind of catalog."""

from __future__ import annotations

from ohlcv.config.catalogs.adapters import Catalog, PostgresqlCatalog
from ohlcv.model.catalog_causes import Cause, find_cause
from ohlcv.model.catalog_chain import Step, StepResult

MAX_TEXT = 300
# Where the clients of AWS find keys by themselves.
AWS_LOGIN = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role of the machine"

# What a fault of a step means if its cause is not recognized.
_PROBLEMS: dict[Step, str] = {
    "reach": "the catalog {catalog} reports an error",
    "authenticate": "the catalog {catalog} refuses the login",
    "list": "the tables of {subject} cannot be listed",
    "read trades": "{subject} cannot be read",
    "create": "the table {subject} cannot be created",
    "commit": "nothing can be committed to {subject}",
    "roll back": "{subject} cannot be rolled back",
    "history": "the history of {subject} cannot be read",
    "gc.enabled": "the tables cannot be read",
    "drop": "{subject} cannot be dropped",
}
# Problem and remedy of a cause.
_FAULTS = {
    Cause.UNREACHABLE: ("the catalog {catalog} does not answer", "start it, or correct {uri}"),
    Cause.NOT_ICEBERG: ("{catalog} is not an Iceberg REST catalog", "correct {uri}"),
    Cause.NO_WAREHOUSE: ("the catalog {catalog} does not know its warehouse", "set {warehouse} to one that it has"),
    Cause.NO_TABLE: ("there is no table {table}", "run 'ohlcv tables create', or correct the name of the table"),
    Cause.GARBAGE_DISABLED: ("{problem}", "let the service of the catalog delete the files"),
    Cause.LOCKED: ("{catalog} is locked by another process", "wait until it ends, and run again"),
    Cause.STORE_LOGIN: ("{problem}: the store rejects the keys", "correct {keys}"),
    Cause.STORE_FORBIDDEN: (
        "{problem}: the store denies access",
        "correct {keys}, or grant them read, write and delete",
    ),
    Cause.STORE_UNREACHABLE: ("{problem}: the store does not answer", "start it, or correct {endpoint}"),
    Cause.STORE: ("{problem}: the store reports an error", "check {warehouse} and {region}"),
    Cause.OTHER: ("{problem}", "see Problems in docs/connect.md"),
}
# What a principal needs for a step. The services name these rights differently.
_RIGHTS: dict[Step, str] = {
    "list": "list the tables of {subject}",
    "read trades": "read {subject}",
    "create": "create tables in its namespace, as candles need",
    "commit": "write to the tables of its namespace, as candles need",
    "roll back": "commit to the tables of its namespace",
    "history": "read {subject}",
    "gc.enabled": "read the tables",
    "drop": "drop tables in its namespace, and drop {subject}",
}
_PERMISSIONS = {
    "postgresql": "INSERT, UPDATE and DELETE on the tables iceberg_tables and iceberg_namespace_properties",
    "sqlite": "write access to the file and its folder",
}


def describe_result(catalog: Catalog, result: StepResult) -> str:
    """Return the text of a result in one line: what was found, or the problem and what to do."""
    if result.state == "ok":
        return _describe_success(catalog, result)
    if result.step == "history" and result.state == "warning":
        return (
            f"the catalog shows only the newest snapshot of a table ({result.found}): no rollback is possible, candles "
            "are audited before they are written instead of on a branch, and late trades are found by "
            "ingestion_timestamp only, so keep that column filled (docs/connect.md, Nessie)"
        )
    if result.step == "gc.enabled" and result.state == "warning":
        return (
            f"gc.enabled=false on {result.found}: 'ohlcv maintain' expires no snapshots there; let the service of the "
            "catalog do it, or set the table property gc.enabled to true if no branch or copy shares its files"
        )
    if result.step == "drop" and result.state == "warning":
        return (
            f"{result.found} is dropped, but the purge of its files is not permitted ({_cause_text(catalog, result)}): "
            f"{_purge_remedy(catalog, result)}"
        )
    problem, remedy = _describe_fault(catalog, result)
    return f"{problem} ({_cause_text(catalog, result)}): {remedy}"


def _describe_success(catalog: Catalog, result: StepResult) -> str:
    match result.step:
        case "reach":
            return f"{catalog} answers"
        case "authenticate":
            return "the login is accepted" if _login(catalog) else "no login is configured, and none is required"
        case "create":
            return f"a scratch table in {result.found}"
        case "history":
            return f"{result.found}: candles are audited on a branch"
    return result.found


def _describe_fault(catalog: Catalog, result: StepResult) -> tuple[str, str]:
    """Return the problem and the remedy."""
    cause = find_cause(result.errors)
    problem = _PROBLEMS[result.step].format(catalog=catalog, subject=result.found)
    if cause in (Cause.LOGIN, Cause.NO_CREDENTIAL):
        return _login_problem(catalog), _login_remedy(catalog)
    if cause is Cause.FORBIDDEN:
        if result.step == "create":
            problem = f"the catalog permits listing, but not writing: {problem}"
        return problem, f"grant {_principal(catalog)} {_missing_right(catalog, result)}"
    if cause is Cause.NO_TABLE and result.step != "read trades":
        cause = Cause.OTHER
    known_problem, remedy = _FAULTS[cause]
    if cause is Cause.OTHER and result.step == "drop":
        remedy = f"drop {result.found} by hand"
    if cause is Cause.NO_WAREHOUSE and catalog.kind == "postgresql":
        remedy = f"create the database, or correct {catalog.setting('uri')}"
    values = {
        "problem": problem,
        "catalog": catalog,
        "table": result.found,
        "keys": _store_keys(catalog),
        **{key.removeprefix("s3."): catalog.setting(key) for key in ("uri", "warehouse", "s3.endpoint", "s3.region")},
    }
    return known_problem.format_map(values), remedy.format_map(values)


def _missing_right(catalog: Catalog, result: StepResult) -> str:
    right = _RIGHTS.get(result.step, "use the catalog").format(subject=result.found)
    return _PERMISSIONS.get(catalog.kind, f"the right to {right}")


def _purge_remedy(catalog: Catalog, result: StepResult) -> str:
    if find_cause(result.errors) is Cause.GARBAGE_DISABLED:
        return "the service sets gc.enabled=false and deletes files itself, so nothing is to do"
    return f"grant {_principal(catalog)} the purge of tables, or delete the folder {result.found} of the warehouse"


def _login_problem(catalog: Catalog) -> str:
    login = _login(catalog)
    return f"the catalog {catalog} " + (f"refuses the {login}" if login else "requires a login, and none is set")


def _login_remedy(catalog: Catalog) -> str:
    login = _login(catalog)
    if login == "keys of AWS":
        return f"set or correct {AWS_LOGIN}"
    if not login:
        return f"set {' or '.join(map(catalog.setting, catalog.access_keys))}"
    if login == "token":
        return f"set a new {catalog.setting('token')}: this one is wrong, expired or for another service"
    if login == "credential":
        issuer = f"{catalog.setting('oauth2-server-uri')} or {catalog.setting('scope')}"
        return f"correct {catalog.setting('credential')} (client id:secret), {issuer}"
    return f"correct {catalog.access_settings}"


def _login(catalog: Catalog) -> str:
    """Return what the clients log in with: password, token, credential, keys of AWS, or an empty text."""
    given = catalog.description.properties
    if catalog.has_aws_login:
        return "keys of AWS"
    if isinstance(catalog, PostgresqlCatalog):
        return "password" if catalog.address.password else ""
    return next((key for key in catalog.access_keys if key in given), "")


def _principal(catalog: Catalog) -> str:
    if isinstance(catalog, PostgresqlCatalog):
        return f"the user {catalog.address.user}"
    return "this account" if catalog.embedded_database is not None else "the principal of the login"


def _store_keys(catalog: Catalog) -> str:
    if catalog.store is None or catalog.store.access_key is None:
        return "the keys that the service vends" if catalog.kind == "rest" else AWS_LOGIN
    return f"{catalog.setting('s3.access-key-id')} and {catalog.setting('s3.secret-access-key')}"


def _cause_text(catalog: Catalog, result: StepResult) -> str:
    """Return the message of the first cause, without its class and without secrets."""
    if not result.errors:
        return "no details"
    name, _, message = result.errors[-1].partition(": ")
    return catalog.without_secrets(message if message.strip() not in ("", "null") else name)[:MAX_TEXT]
