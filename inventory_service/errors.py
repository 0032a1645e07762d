"""Domain errors. They know no HTTP: `web/problems.py` maps each class to a status, once."""

from __future__ import annotations


class CallboardError(Exception):
    """Something that a caller can understand and act on. `detail` is one or two full sentences."""

    title = "The request could not be carried out"

    def __init__(self, detail: str, *, errors: list[dict[str, object]] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors or []


class NotFoundError(CallboardError):
    """The named thing does not exist, or the caller may not know that it does."""

    title = "Not found"


class InvalidError(CallboardError):
    """A value was understood and is not acceptable."""

    title = "Invalid value"

    @classmethod
    def at(cls, loc: str, detail: str) -> InvalidError:
        """An error that points at one field, named by `loc`."""
        return cls(detail, errors=[{"loc": [loc], "msg": detail}])


class UnauthorizedError(CallboardError):
    """No credential, or one that does not hold. The same words for every reason."""

    title = "Not signed in"


class RefusedError(UnauthorizedError):
    """A machine is not let in. `reason` is for the audit log; the caller gets the same words for every one."""

    title = "Refused"

    def __init__(self, reason: str) -> None:
        super().__init__(
            "This machine is not let in. Its join token may be mistyped, expired, used up, revoked or not meant for "
            "its network, or its proof of being a certain EC2 instance is missing or does not hold; an operator finds "
            "the reason in Callboard's audit log."
        )
        self.reason = reason


class TooManyError(CallboardError):
    """The caller was refused so often that it has to wait."""

    title = "Too many requests"


class ForbiddenError(CallboardError):
    """The credential holds, and does not reach this far."""

    title = "Not allowed"


class ConflictError(CallboardError):
    """The request contradicts the present state."""

    title = "Conflict"


class GoneError(CallboardError):
    """The thing existed and has ended; the caller has to begin anew."""

    title = "Gone"


class LockedError(ConflictError):
    """The stage is held by a run or a person, and the request asked not to wait."""

    title = "Stage locked"


class SourceError(CallboardError):
    """A project's source could not be read: unreachable, unknown revision, missing playbook."""

    title = "Source not usable"


class SettingsError(CallboardError):
    """A setting is wrong; nothing was started."""

    title = "Wrong setting"


class BusyError(CallboardError):
    """The service can't answer now, for instance because the database is locked; try again."""

    title = "Busy"
