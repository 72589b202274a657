"""Errors of the simulator (pure)."""

from __future__ import annotations

from http import HTTPStatus

from vsock_wire.errors import ToolError


class SimulatorError(ToolError):
    """The simulator cannot do what it was asked to do."""


class CiphertextError(SimulatorError):
    """A ciphertext blob does not open; like KMS, without saying why."""


class KmsFault(SimulatorError):  # noqa: N818 - the side that answers; KmsError is what a client gets of it
    """An error answer of KMS.

    Attributes:
        code: AWS's name of the error, the ``__type`` of the answer.
        message: its text, or None: KMS leaves the text of some errors out.
        http_status: of the answer. KMS answers 400 to nearly everything.
    """

    def __init__(self, code: str, message: str | None = None, http_status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message
        self.http_status = http_status


def validation_fault(message: str) -> KmsFault:
    """Return the fault for a request that is not of the form KMS takes."""
    return KmsFault("ValidationException", message)
