"""The HTTP client behind the client commands."""

from __future__ import annotations

import codecs
import contextlib
import http.client
import json
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

from inventory_service.errors import CallboardError
from inventory_service.text import harmless

_TIMEOUT_SECONDS = 60
_DEFAULT_URL = "http://127.0.0.1:8500"


class ClientError(CallboardError):
    """The service refused, or could not be reached."""

    def __init__(self, detail: str, *, status: int = 0, errors: list[dict[str, object]] | None = None) -> None:
        super().__init__(detail, errors=errors)
        self.status = status


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token must not travel to where a redirect points."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Client:
    """Calls the service at CALLBOARD_URL with CALLBOARD_TOKEN."""

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        self.url = (url or os.environ.get("CALLBOARD_URL") or _DEFAULT_URL).rstrip("/")
        self._token = token or os.environ.get("CALLBOARD_TOKEN", "")
        self._opener = urllib.request.build_opener(_NoRedirect)

    def get(self, path: str, **query: Any) -> Any:
        """The JSON that a GET answers. None values of the query are left out."""
        return self._json("GET", self._with_query(path, query))

    def get_all(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Every item of a paged list."""
        items, cursor = [], None
        while True:
            page = self.get(path, cursor=cursor, **query)
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                return items

    def text(self, path: str) -> str:
        """The text that a GET answers."""
        with self._open("GET", path) as response, _reading():
            return str(response.read().decode("utf-8", "replace"))

    def stream(self, path: str) -> Iterator[str]:
        """Pieces of text as they arrive."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with self._open("GET", path, timeout=None) as response, _reading():
            while chunk := response.read1(65536):
                yield decoder.decode(chunk)

    def download(self, path: str, file: IO[bytes]) -> None:
        """Write the bytes that a GET answers into the file."""
        with self._open("GET", path) as response, _reading():
            shutil.copyfileobj(response, file)

    def send(self, method: str, path: str, body: dict[str, Any] | None = None, **headers: str) -> Any:
        """The JSON that a changing call answers; None for 204."""
        return self._json(method, path, body or {}, headers)

    def _with_query(self, path: str, query: dict[str, Any]) -> str:
        given = {key: value for key, value in query.items() if value is not None}
        return f"{path}?{urlencode(given)}" if given else path

    def _json(
        self, method: str, path: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> Any:
        with self._open(method, path, body, headers) as response, _reading():
            data = response.read()
        return self._parse(data) if data else None

    def _parse(self, data: bytes) -> dict[str, Any]:
        try:
            value = json.loads(data)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise ClientError(f"What answers at {self.url} is no Callboard. CALLBOARD_URL says where it is.")
        return value

    def _open(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        timeout: float | None = _TIMEOUT_SECONDS,
    ) -> http.client.HTTPResponse:
        self._check()
        data = None if body is None else json.dumps(body).encode()
        url = self.url + quote(path, safe="/?&=%:+,")
        request = urllib.request.Request(url, data=data, method=method)  # noqa: S310 - checked above
        request.add_header("Authorization", f"Bearer {self._token}")
        request.add_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            request.add_header(name.replace("_", "-"), value)
        try:
            answer: http.client.HTTPResponse = self._opener.open(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            raise _refused(error, method, path) from error
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = harmless(" ".join(str(getattr(error, "reason", error)).split()), colours=False)
            raise ClientError(
                f"The service at {self.url} could not be reached: {reason}. Is it running? CALLBOARD_URL says where."
            ) from error
        return answer

    def _check(self) -> None:
        if not self._token:
            raise ClientError("No token: set CALLBOARD_TOKEN to one that begins with cbu_.")
        if not re.fullmatch(r"[!-~]+", self._token):
            raise ClientError("CALLBOARD_TOKEN holds characters that no token has; copy it again.")
        if not _is_http(self.url):
            raise ClientError(f"CALLBOARD_URL is {self.url!r}; write it like {_DEFAULT_URL}.")


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and url.split() == [url]
    except ValueError:
        return False


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """An answer that breaks off in its middle."""
    try:
        yield
    except (http.client.HTTPException, OSError) as error:
        raise ClientError(f"The connection to the service broke: {' '.join(str(error).split())}.") from error


def _refused(error: urllib.error.HTTPError, method: str, path: str) -> ClientError:
    """The service's own words, made harmless: what it quotes may come from a host."""
    try:
        problem = json.loads(error.read())
        detail = harmless(str(problem["detail"]), colours=False)
        fields = [_field(item) for item in problem.get("errors") or []]
    except (http.client.HTTPException, OSError, ValueError, KeyError, TypeError, AttributeError):
        detail, fields = f"{method} {path} was answered with {error.code} {error.reason}.", []
    return ClientError(detail, status=error.code, errors=fields)


def _field(item: dict[str, Any]) -> dict[str, object]:
    where = [harmless(str(part), colours=False) for part in item["loc"]]
    return {"loc": where, "msg": harmless(str(item["msg"]), colours=False)}
