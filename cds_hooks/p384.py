"""ES384, the recommended algorithm of client tokens (cds-hooks checklist T2), verified by AWS-LC.

OpenSSL has no fast code for P-384 and needs longer for one signature than a whole call without patient data takes; AWS-LC has, formally
verified, and answers in less than half of that. Everything else about a token stays with PyJWT.
"""

from __future__ import annotations

from hashlib import sha384
from typing import Any

from awscrt.crypto import EC
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm
from jwt.exceptions import InvalidKeyError
from jwt.utils import raw_to_der_signature


class P384Key:
    """A public key, ready to verify with. Raises ValueError for a key of another curve."""

    def __init__(self, public: EllipticCurvePublicKey) -> None:
        if not isinstance(public.curve, SECP384R1):
            raise ValueError(f"a key of P-384 is expected, this one is of {public.curve.name}")
        self.public = public
        self._key = EC.new_key_from_der_data(
            public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )

    def verified(self, message: bytes, signature: bytes) -> bool:
        """Whether the signature (r and s, 48 bytes each) is this key's for the message."""
        try:
            der = raw_to_der_signature(signature, self.public.curve)
            return bool(self._key.verify(sha384(message).digest(), der))
        except (ValueError, RuntimeError):
            return False  # numbers that no signature can have


class ES384(ECAlgorithm):
    """PyJWT's ES384 with keys of :class:`P384Key`."""

    def __init__(self) -> None:
        super().__init__(ECAlgorithm.SHA384, SECP384R1)

    def prepare_key(self, key: Any) -> Any:
        """Take no other keys: what could be mistaken for another algorithm's key is refused."""
        if not isinstance(key, P384Key):
            raise InvalidKeyError("ES384 verifies with keys of P-384 only")
        return key

    def verify(self, msg: bytes, key: Any, sig: bytes) -> bool:
        """See :meth:`P384Key.verified`."""
        return bool(key.verified(msg, sig))
