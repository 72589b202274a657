"""Errors of the simulator (pure)."""

from __future__ import annotations

from http import HTTPStatus

from vsock_wire.errors import ToolError


class SimulatorError(ToolError):
    """The simulator could not do what it was asked; base class of this package's errors."""


class CiphertextError(SimulatorError):
    """A ciphertext blob cannot be decrypted; like KMS, it does not say why."""


class KmsFault(SimulatorError):  # noqa: N818 - the server's side; clients see a KmsError
    """An error response of KMS.

    Attributes:
        code: AWS's name of the error, the ``__type`` of the response.
        message: its text, or None: KMS omits the text of some errors.
        http_status: of the response. KMS uses 400 for nearly every error.
    """

    def __init__(self, code: str, message: str | None = None, http_status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message
        self.http_status = http_status


def validation_fault(message: str) -> KmsFault:
    """Return the fault for a malformed request."""
    return KmsFault("ValidationException", message)
