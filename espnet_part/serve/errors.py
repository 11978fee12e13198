"""What a client is told when it gets no text, in the form of OpenAI's errors."""

from __future__ import annotations

from typing import Any

from espnet_part.display import plain


class ApiError(Exception):
    """An answer other than text.

    Args:
        status: of HTTP.
        message: what is wrong and how it is mended.
        code: a word for programs.
        param: the field of the request that is wrong.
        retry_after: seconds after which the same request may be answered.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        param: str | None = None,
        retry_after: int | None = None,
    ):
        super().__init__(message)
        self.status, self.code, self.param = status, code, param
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """What is sent as JSON."""
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        kind = kinds.get(
            self.status, "invalid_request_error" if self.status < 500 else "server_error"
        )
        said = {"message": plain(str(self), 1000), "type": kind}
        param = None if self.param is None else plain(self.param, 100)
        return {"error": {**said, "param": param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


class Gone(Exception):
    """The client has hung up; there is nobody to be told."""
