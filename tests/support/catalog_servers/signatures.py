"""Check of the signatures (SigV4) of requests to a REST catalog, as by S3 Tables and Glue."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/[0-9]{8}/([^/]+)/([^/]+)/aws4_request, ?"
    r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})"
)


@dataclass
class Signatures:
    """The key, the region and the service with which requests are signed."""

    access_key: str
    secret_key: str = field(repr=False)
    region: str
    service: str
    # Number of requests with a valid signature, by method.
    accepted: Counter[str] = field(default_factory=Counter)

    def find_problem(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> str | None:
        """Return why a request is refused, None if its signature is valid."""
        received = {name.lower(): value for name, value in headers.items()}
        found = _AUTHORIZATION.fullmatch(received.get("authorization", ""))
        if found is None:
            return "the request is not signed"
        scope, names = found.group(1, 2, 3), found[4].split(";")
        if scope != (self.access_key, self.region, self.service):
            return f"the request is signed for {'/'.join(scope)}"
        if not {"host", "x-amz-date"} <= {*names}:
            return "the host or the time is not signed"
        request = AWSRequest(method, f"http://{received['host']}{path}", {name: received[name] for name in names}, body)
        request.context["timestamp"] = received["x-amz-date"]
        signature = _Signer(Credentials(self.access_key, self.secret_key), self.service, self.region).sign(request)
        if not hmac.compare_digest(signature, found[5]):
            return "the signature does not match the request: check the secret key"
        self.accepted[method] += 1
        return None


class _Signer(SigV4Auth):  # type: ignore[misc]  # botocore has no types
    def sign(self, request: AWSRequest) -> str:
        # botocore takes the hash of the body from a header, whose text Iceberg's Java library encodes in another way.
        head = self.canonical_request(request).rpartition("\n")[0]
        text = self.string_to_sign(request, f"{head}\n{hashlib.sha256(request.data).hexdigest()}")
        return str(self.signature(text, request))
