"""Why a store gives nothing: what networks, stores, credentials and options fail with, named in a sentence.

Nothing of what a library or a store said is passed on: an answer may repeat addresses with signatures in them, an
option that cannot be read is printed with its value. What is told is the kind of failure, the status and the store's
own code for it (``503 SlowDown``).
"""

from __future__ import annotations

import errno
import functools
import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnknownConfigurationKeyError,
)

from merging.errors import MergeError, TableUnreachable

Method = TypeVar("Method", bound=Callable[..., Any])

#: The last is of Azure's batches.
_STATUS = re.compile(r"(?:status(?: code)?: |\(code: )(\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z][A-Za-z0-9.]{0,60})</Code>")
_NO_PLACE = ("NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted")
#: The same in the answers to Azure's batches, whose codes the client leaves out.
_NO_CONTAINER = "The specified container does not exist."
#: Where machines ask who they are, when nobody gave them credentials.
_IDENTITY = ("169.254.169.254", "169.254.170.2", "metadata.google.internal", "GOOGLE_METADATA")
_REFUSES = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR})
_AWAY = frozenset(
    {
        *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EPIPE, errno.ENXIO, errno.ENODEV),
        *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EHOSTDOWN, errno.EHOSTUNREACH),
        *(errno.ENETDOWN, errno.ENETUNREACH, errno.EREMOTEIO, errno.ENOLINK),
    }
)
_BAD_OPTIONS = (
    (re.compile(r"[Ff]ailed to parse .* as (\w+)", re.DOTALL), "An option of its store is no {0}."),
    (re.compile("Account must be specified"), "Its options name no storage account."),
    (re.compile("Invalid Access Key"), "Its access key is not written as Azure writes them (base64)."),
    (
        re.compile("Unable to decode service account"),
        "Its service account's key is not the JSON that Google gives.",
    ),
    (re.compile("Unable to open service account"), "The file of its service account's key cannot be opened."),
    (
        re.compile("Unable to recognise URL"),
        "Its address is of no kind that is known: s3://, gs://, az://, abfss://.",
    ),
    (re.compile("certificate", re.IGNORECASE), "Its options hold a certificate that cannot be read."),
)


def is_panic(error: BaseException) -> bool:
    """Whether a library written in Rust gave up altogether: by an error that is no ``Exception``."""
    return type(error).__name__ == "PanicException"


def not_reached(error: BaseException, table_uri: str) -> TableUnreachable | None:
    """The error to raise in place of a library's or the operating system's; None where it is about something else."""
    if isinstance(error, MergeError):
        return error if isinstance(error, TableUnreachable) else None
    told = _of_client(error) if isinstance(error, BaseError) or is_panic(error) else _of_system(error)
    return None if told is None else TableUnreachable(table_uri, told[0], retriable=told[1])


def cannot_open(error: BaseException, table_uri: str) -> TableUnreachable:
    """The error for an address or options of which no client of a store can be made."""
    said = str(error).partition("\n")[0]
    reason = "The options of its store do not fit its address, or each other."
    if isinstance(error, UnknownConfigurationKeyError):
        name = re.search(r"'([\w.-]{1,80})'", said)
        reason = (
            f"Its store has no option {name[1]}." if name else "Its store lacks one of the options given."
        )
    for pattern, sentence in _BAD_OPTIONS:
        if found := pattern.search(said):
            reason = sentence.format(*found.groups())
            break
    return TableUnreachable(table_uri, reason, retriable=False)


@contextmanager
def naming_unreachable(table_uri: str) -> Iterator[None]:
    """Turn what a store that gives nothing raises inside into TableUnreachable. Everything else passes."""
    try:
        yield
    except BaseException as error:
        named = not_reached(error, table_uri)
        if named is None or named is error:
            raise
        # What was said is not even a cause: logs print causes.
        raise named from None


def names_unreachable(method: Method) -> Method:
    """The same around a method of a store (whose ``uri`` says which), a generator's steps included."""
    if inspect.isgeneratorfunction(method):

        @functools.wraps(method)
        def stepping(self: Any, *arguments: Any, **named: Any) -> Iterator[Any]:
            with naming_unreachable(self.uri):
                yield from method(self, *arguments, **named)

        return stepping  # type: ignore[return-value]

    @functools.wraps(method)
    def calling(self: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return method(self, *arguments, **named)
        except BaseException as error:
            unreachable = not_reached(error, self.uri)
            if unreachable is None or unreachable is error:
                raise
            raise unreachable from None

    return calling  # type: ignore[return-value]


def _of_system(error: BaseException) -> tuple[str, bool] | None:
    if isinstance(error, FileNotFoundError | NotFoundError):
        return _no_place(str(error))
    if not isinstance(error, OSError):
        return None
    if isinstance(error, TimeoutError):
        return "It did not answer in time.", True
    if isinstance(error, ConnectionError) or error.errno in _AWAY:
        return f"The volume or network that it lies on fails ({error.strerror or 'no connection'}).", True
    if error.errno in _REFUSES:
        return f"The operating system refuses access ({error.strerror}): ask whoever runs Headgate.", False
    return None


def _no_place(said: str) -> tuple[str, bool] | None:
    code = _CODE.search(said)
    if code is not None and code[1] in _NO_PLACE:
        return f"There is no such bucket or container in its store ({code[1]}).", False
    if _NO_CONTAINER in said:
        return "There is no such bucket or container in its store (ContainerNotFound).", False
    return None


def _of_client(error: BaseException) -> tuple[str, bool]:
    said = str(error)
    if any(host in said for host in _IDENTITY) and "kind: Status" not in said and "status: 5" not in said:
        return "No credentials were given for its store, and this machine has none of its own.", False
    status, code = _STATUS.search(said), _CODE.search(said)
    shown = " ".join(found[1] for found in (status, code) if found is not None)
    number = int(status[1]) if status is not None else 0
    gone = _no_place(said)
    if gone is not None:
        return gone
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or number in (401, 403):
        return (
            f"Its store refuses access ({shown or 'denied'}): the credentials are wrong or have expired, or they may "
            "not do this there.",
            False,
        )
    if number in (408, 429) or (code is not None and code[1] in ("SlowDown", "ServerBusy")):
        return f"Its store asks to be asked more slowly ({shown}).", True
    if isinstance(error, AlreadyExistsError) or number == 409:  # nothing here asked for a name that is free
        return f"Its store was at work on the same object at the same time ({shown or 'conflict'}).", True
    if number >= 500 and number not in (501, 505):
        return f"Its store has a failure of its own ({shown}).", True
    if number:
        return (
            f"Its store does not take what it was asked ({shown}): look at the endpoint, region and options.",
            False,
        )
    return _of_connection(error, said)


def _of_connection(error: BaseException, said: str) -> tuple[str, bool]:
    if "BareRedirect" in said or "incorrectly configured region" in said:
        return "Its bucket is in another region than its options say.", False
    if "certificate" in said.lower():
        return "The certificate of its store is not trusted.", False
    if "kind: Builder" in said or "BadScheme" in said:
        return (
            "The address of its store is none for requests; one of http:// needs the option allow_http.",
            False,
        )
    if "dns error" in said:
        return "The network does not know the name of its store.", True
    if "kind: Timeout" in said or "TimedOut" in said:
        return "Its store did not answer in time.", True
    if "kind: Connect" in said:
        return "Its store cannot be connected to: nothing answers there, or the network is down.", True
    if "HttpError" in said or "kind: Body" in said or "kind: Decode" in said or "BrokenPipe" in said:
        return "The answer of its store broke off.", True
    if isinstance(error, NotSupportedError):
        return "Its store cannot do what was asked of it.", False
    if is_panic(error):
        return (
            "The program that speaks with its store cannot work with its options, or with its answer.",
            False,
        )
    return "Its store gives answers that cannot be understood: look at the endpoint and options.", False
