"""The recipient of KMS's responses: an RSA key, which opens them, and the attestation document that vouches for it."""

from __future__ import annotations

import hashlib
import threading
import time

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enclave_tool.arguments import expect_type
from enclave_tool.errors import CmsError
from enclave_tool.nsm.device import Nsm
from enclave_tool.recipient.cms import SUBJECT, decrypt_enveloped_data, parse_enveloped_data
from vsock_wire.protocol.recording import record
from vsock_wire.protocol.trace import Attested, Opened
from vsock_wire.stopwatch import milliseconds_since

KEY_BITS = (2_048, 3_072, 4_096)
"""Sizes of RSA keys that KMS encrypts to; the first is the default, as in kmstool. Source: KMS API, RecipientInfo."""
KEY_ENCRYPTION_ALGORITHM = "RSAES_OAEP_SHA_256"
_PUBLIC_EXPONENT = 65_537


class RecipientKey:
    """An RSA key pair whose private key never leaves this process. ``repr`` shows only its identifier.

    Args:
        private_key: an existing key; ``generate`` makes a new one.

    Attributes:
        public_key_der: the SubjectPublicKeyInfo, as the attestation document carries it.
        identifier: SHA-256 of ``public_key_der``, which names the recipient in KMS's response.
    """

    def __init__(self, private_key: rsa.RSAPrivateKey) -> None:
        expect_type("private_key", private_key, (rsa.RSAPrivateKey,), "an RSA private key of cryptography's")
        self._private_key = private_key
        self.public_key_der = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.identifier = hashlib.sha256(self.public_key_der).digest()

    def __repr__(self) -> str:
        return f"RecipientKey({self.identifier.hex()})"

    @classmethod
    def generate(cls, key_bits: int = KEY_BITS[0]) -> RecipientKey:
        """Generate a new key.

        Raises:
            ValueError: ``key_bits`` is not one of KEY_BITS.
        """
        if key_bits not in KEY_BITS:
            raise ValueError(f"key_bits: expected one of {KEY_BITS}, got {key_bits}")
        return cls(rsa.generate_private_key(_PUBLIC_EXPONENT, key_bits))

    def open_ciphertext_for_recipient(self, ciphertext_for_recipient: bytes) -> bytes:
        """Return the plaintext of a CiphertextForRecipient.

        Does not prove that it comes from KMS, because anyone who knows the public key can make one. Only the TLS
        connection proves that.

        Raises:
            CmsError: it is malformed, is for another key, or cannot be opened.
        """
        enveloped = parse_enveloped_data(ciphertext_for_recipient)
        named = enveloped.recipient_key_identifier
        if named is not None and named != self.identifier:
            raise CmsError(
                f"{SUBJECT}: made for another key: expected subjectKeyIdentifier {self.identifier.hex()},"
                f" got {named.hex()[:64]}",
                hint="another process's attestation document went to KMS, or this response is not from KMS",
            )
        return decrypt_enveloped_data(enveloped, self._private_key)


class Recipient:
    """What an attested KMS call needs: an attestation document to send, and the key that opens the response.

    Threads can share it.

    Args:
        nsm: the module that signs the documents.
        key: the recipient key; by default a new RSA-2048 key.
        max_document_age_s: how many seconds to reuse a document; 0 gets a new one for each call. KMS does not publish a
            limit; the leaf certificate in a document expires about 3 hours after it was issued.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: the age is negative.
    """

    def __init__(self, nsm: Nsm, *, key: RecipientKey | None = None, max_document_age_s: float = 0.0) -> None:
        expect_type("nsm", nsm, (Nsm,), "what open_nsm returns")
        expect_type("key", key, (RecipientKey, type(None)), "a RecipientKey")
        expect_type("max_document_age_s", max_document_age_s, (int, float), "a number of seconds")
        if not max_document_age_s >= 0:
            raise ValueError(f"max_document_age_s: expected 0 or more seconds, got {max_document_age_s}")
        self.key = key or RecipientKey.generate()
        self._nsm = nsm
        self._max_document_age_s = max_document_age_s
        self._lock = threading.Lock()
        self._document: bytes | None = None
        self._document_made_at = 0.0

    def document(self) -> bytes:
        """Return an attestation document that carries the recipient's public key.

        Raises:
            NsmError: the module refused or did not respond.
        """
        started = time.perf_counter()
        document, is_reused = self._kept_document() if self._max_document_age_s > 0 else (self._new_document(), False)
        record(Attested(document, is_reused, milliseconds_since(started)))
        return document

    def attest(self, nonce: bytes | None, user_data: bytes | None, *, public_key_der: bytes | None = None) -> bytes:
        """Return a new attestation document for a verifier other than KMS, with a public key, nonce and user data.

        Each has at most 1,024 bytes. No bytes are a value; None leaves the nonce or the user data out.

        Args:
            nonce: bytes that make the document fresh for the party that chose them.
            user_data: any other data.
            public_key_der: another key than the recipient's. KMS encrypts to the key in a document, so the holder of
                its private half could read what KMS has for this enclave.

        Raises:
            NsmError: the module refused or did not respond.
        """
        started = time.perf_counter()
        document = self._nsm.attestation_document(
            public_key_der=self.key.public_key_der if public_key_der is None else public_key_der,
            nonce=nonce,
            user_data=user_data,
        )
        record(Attested(document, is_reused=False, elapsed_ms=milliseconds_since(started)))
        return document

    def open_ciphertext_for_recipient(self, ciphertext_for_recipient: bytes) -> bytes:
        """Return the plaintext; see ``RecipientKey.open_ciphertext_for_recipient``.

        Raises:
            CmsError: it is malformed, is for another key, or cannot be opened.
        """
        started = time.perf_counter()
        plaintext = self.key.open_ciphertext_for_recipient(ciphertext_for_recipient)
        record(Opened(len(ciphertext_for_recipient), self.key.identifier.hex(), milliseconds_since(started)))
        return plaintext

    def _kept_document(self) -> tuple[bytes, bool]:
        """Return a document that is recent enough, and whether it was made for an earlier call."""
        with self._lock:
            now = time.monotonic()
            is_kept = now - self._document_made_at <= self._max_document_age_s
            if self._document is None or not is_kept:
                self._document, is_kept = self._new_document(), False
                self._document_made_at = now
            return self._document, is_kept

    def _new_document(self) -> bytes:
        return self._nsm.attestation_document(public_key_der=self.key.public_key_der)
